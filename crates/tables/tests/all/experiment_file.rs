//! Faults in an experiment file are shown with file, line and a caret under the key.
#![allow(clippy::unwrap_used, clippy::panic)]

use smalti_tables::experiment::{Experiment, Failure, FileError, LearnsFrom, ProfileName};
use toml::{Table, Value};

const FILE: &str = "experiments/superres_sic.toml";
const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

/// The error for the shipped file after replacing the first `from` by `to`.
fn fault(from: &str, to: &str) -> Box<FileError> {
    assert!(TEXT.contains(from), "the file has no {from:?}");
    match Experiment::parse("superres_sic", FILE, &TEXT.replacen(from, to, 1)) {
        Ok(_) => panic!("{to:?} was accepted"),
        Err(e) => e,
    }
}

/// The line of the changed file in which `text` first stands.
fn line_of(changed: &str, text: &str) -> usize {
    changed.lines().position(|l| l.contains(text)).unwrap() + 1
}

/// Checks line, message and that the caret stands under `under`.
fn shows(from: &str, to: &str, under: &str, message: &str) {
    let error = fault(from, to);
    let changed = TEXT.replacen(from, to, 1);
    let line = changed.lines().nth(error.line - 1).unwrap();
    assert_eq!(error.line, line_of(&changed, to.lines().next().unwrap()), "{error}");
    assert!(line.chars().skip(error.column - 1).collect::<String>().starts_with(under), "{error}: {line}");
    assert!(error.to_string().contains(message), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    let shown = Failure::Experiment(error).render();
    assert!(shown.starts_with(&format!("error: {FILE}:")), "{shown}");
    // The caret line follows the line of the file and points into the same column.
    let lines: Vec<&str> = shown.lines().collect();
    let quoted = lines.iter().position(|l| l.ends_with(line)).unwrap_or_else(|| panic!("{shown}"));
    let column = |l: &str, b: usize| l[..b].chars().count();
    let start = column(lines[quoted], lines[quoted].len() - line.len());
    let caret = lines[quoted + 1].find('^').unwrap_or_else(|| panic!("{shown}"));
    let text: String = line.chars().skip(column(lines[quoted + 1], caret) - start).collect();
    assert!(text.starts_with(under), "caret under {text:?}\n{shown}");
}

/// A setting of a row.
fn setting(experiment: &Experiment, profile: ProfileName, row: &str, path: &str) -> Value {
    let settings: Table = toml::from_str(&experiment.profile(profile).rows[row].settings.to_toml()).unwrap();
    path.split('.')
        .fold(Value::Table(settings), |value, key| value.get(key).unwrap_or_else(|| panic!("{path}")).clone())
}

#[test]
fn the_shipped_file_is_right() {
    let e = Experiment::parse("superres_sic", FILE, TEXT).unwrap();
    assert_eq!(
        (e.name.as_str(), &e.profile(ProfileName::Smoke).scenes[0].data.references[..]),
        ("superres_sic", &["sic/ref.png".to_owned()][..])
    );
    let (paper, quick) = (ProfileName::Paper, e.profile(ProfileName::Quick));
    let of = |row: &str, path: &str| setting(&e, paper, row, path);
    assert_eq!(of("patchnr", "flow.training.steps"), 750_000.into());
    assert_eq!(of("patchnr", "flow.training.batch"), 32.into());
    assert_eq!(of("patchnr", "weight.squared_errors.lambda"), 0.15.into());
    assert_eq!(of("patchnr", "patches.random"), 130_000.into());
    assert_eq!(of("patchnr", "descent.schedule"), "constant".into());
    assert_eq!((of("wpp", "patch_size"), of("wpp", "references")), (6.into(), 10_000.into()));
    assert_eq!((of("wpp", "scales"), of("wpp", "border")), (2.into(), 20.into()));
    assert_eq!(of("wpp", "dual.averaged_sgd.steps"), 10.into());
    let lambda = of("wpp", "weight.squared_errors.lambda").as_float().unwrap();
    assert!((lambda - 2.0 * 6000.0 / 36.0).abs() < 2e-3);
    let observed = of("wpp", "weight.squared_errors.observed");
    assert_eq!((observed, of("patchnr", "weight.squared_errors.observed")), (22_500.into(), 22_500.into()));
    assert_eq!(quick.rows["l2_tv"].title, "L2-TV");
    assert!(quick.rows.values().all(|row| row.learns_from == LearnsFrom::References && row.start.is_none()));
    let figures = quick.sets[0].published(0, &quick.rows["bicubic"].published);
    assert_eq!(figures.psnr.map(|f| (f.mean, f.std)), Some((25.63, Some(0.56))));
    assert_eq!(quick.sets[0].published(0, "l2_tv").psnr, None);
    let example = quick.sets.last().unwrap().published(0, "patchnr").psnr.unwrap();
    assert_eq!((example.mean, example.std), (28.29, None));
}

#[test]
fn rows_are_configured_methods() {
    let second = "[profile.smoke.methods.patchnr_2]\nmethod = \"patchnr\"\ntitle = \"patchNR, twice\"\npublished = \"patchnr\"\nstart = \"l2_tv\"\n\
         learns_from = \"observation\"\nweight = { mean = 0.1 }\ndescent = { iterations = 60, learning_rate = 0.01, schedule = \"cosine\" }\n\
         patches = \"all\"\n\n[profile.smoke.methods.patchnr_2.flow]\npatch_size = 4\nblocks = 2\nhidden = 64\nclamp = 1.6\n\
         training = { steps = 10, batch = 8, learning_rate = 1e-3, schedule = \"constant\", validation_every = 5 }\n";
    let text = TEXT.replacen("\"patchnr\", \"wpp\", \"dpir\"]", "\"patchnr\", \"patchnr_2\"]", 1) + second;
    let e = Experiment::parse("x", FILE, &text).unwrap();
    let smoke = e.profile(ProfileName::Smoke);
    let row = &smoke.rows["patchnr_2"];
    assert_eq!(
        (row.title.as_str(), row.method.key, row.start.as_deref()),
        ("patchNR, twice", "patchnr", Some("l2_tv"))
    );
    assert_eq!(row.learns_from, LearnsFrom::Observation);
    assert_eq!(smoke.sets[0].published(0, &row.published).psnr.unwrap().mean, 28.29);
    let used: Vec<&str> = smoke.used(None).iter().map(|row| row.key.as_str()).collect();
    assert_eq!(used, ["bicubic", "l2_tv", "epll", "alr", "patchnr", "patchnr_2"]);
    let written: Table = toml::from_str(&smoke.to_toml()).unwrap();
    assert_eq!(written["methods"]["patchnr_2"]["method"], "patchnr".into());
    assert_eq!(written["methods"]["patchnr_2"]["start"], "l2_tv".into());
    assert_eq!(written["methods"]["patchnr_2"]["learns_from"], "observation".into());
    assert_eq!(written["methods"]["patchnr_2"]["flow"]["training"]["steps"], 10.into());
    assert_eq!(written["problem"]["superresolution"]["size"], 120.into());
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let error = Experiment::parse("x", FILE, &text.replacen(from, to, 1)).map(|_| ()).unwrap_err();
        error.to_string()
    };
    let line = refused("start = \"l2_tv\"", "start = \"tv\"");
    assert!(
        line.contains("methods.patchnr_2.start: patchnr_2 starts from tv, which has no section"),
        "{line}"
    );
    let line = refused("start = \"l2_tv\"", "start = \"patchnr_2\"");
    assert!(line.contains("patchnr_2 starts from itself"), "{line}");
    let line = refused("iterations = 200\n", "iterations = 200\nstart = \"l2_tv\"\n");
    assert!(line.contains("l2_tv starts from itself"), "{line}");
    let unet = "[profile.smoke.methods.bicubic]\nstart = \"l2_tv\"\n\n[profile.smoke.methods.l2_tv]";
    let line = refused("[profile.smoke.methods.l2_tv]", unet);
    assert!(line.contains("bicubic.start: bicubic does not go on from another estimate"), "{line}");
    // Rows and images stand once, and no row takes the file of another picture.
    let line = refused("\"patchnr\", \"patchnr_2\"]", "\"patchnr\", \"patchnr\"]");
    assert!(line.contains("patchnr stands twice"), "{line}");
    let line = refused("images = [\"sic/test.png\"]", "images = [\"sic/test.png\", \"sic/test.png\"]");
    assert!(line.contains("sic/test.png stands twice"), "{line}");
    for name in ["truth", "observation", "wpp-inset"] {
        let line = refused("[profile.smoke.methods.wpp]", &format!("[profile.smoke.methods.{name}]"));
        assert!(line.contains("would take the file of another picture"), "{line}");
    }
    let line = refused("method = \"patchnr\"", "method = \"patchnrr\"");
    assert!(line.contains("methods.patchnr_2.method: no method patchnrr; there is bicubic, fbp"), "{line}");
    let line = refused("learns_from = \"observation\"", "learns_from = \"everything\"");
    assert!(line.contains("everything"), "{line}");
}

#[test]
fn wrong_syntax() {
    let error = fault("crop = 40", "crop = = 40");
    assert_eq!(error.line, line_of(TEXT, "crop = 40"), "{error}");
    assert!(error.render().contains('^'), "{}", error.render());
}

#[test]
fn unknown_keys_are_refused() {
    shows("main = true", "mian = true", "mian", "unknown field `mian`");
    shows("crop = 40", "corp = 40", "corp", "unknown field `corp`");
    shows("noise = 0.01", "nosie = 0.01", "nosie", "unknown field `nosie`");
    shows("border = 8", "boarder = 8", "boarder", "unknown field `boarder`");
    shows("title = \"L2-TV\"", "tilte = \"L2-TV\"", "tilte", "unknown field `tilte`");
}

#[test]
fn missing_keys_are_refused() {
    let error = fault("sigma = 2.0\n", "");
    assert_eq!(error.line, line_of(TEXT, "[problem.superresolution]"), "{error}");
    assert!(error.to_string().contains("missing field `sigma`"), "{error}");
    let error = fault("scales = 2\nstride = 2\n", "scales = 2\n");
    assert_eq!(error.line, line_of(TEXT, "[profile.smoke.methods.wpp]"), "{error}");
    assert!(error.to_string().contains("missing field `stride`"), "{error}");
}

#[test]
fn wrong_types_are_refused() {
    shows("stride = 4", "stride = \"four\"", "\"four\"", "problem.superresolution.stride");
    shows("form = \"wrap-after\"", "form = \"wrap\"", "\"wrap\"", "`wrap-after`");
    shows("dual = { converge = {", "dual = { converges = {", "", "converges");
    shows("patches = { grid = 3 }", "patches = { grit = 2 }", "", "grit");
    shows("border = 8", "border = \"wide\"", "\"wide\"", "profile.smoke.methods.wpp.border");
}

#[test]
fn values_out_of_range_are_refused() {
    let iterations = "{ half_squared_errors = 0.0005 } # chosen on sic/val.png\niterations = 1_000";
    shows(
        iterations,
        "{ half_squared_errors = -1.0 }\niterations = 1_000",
        "half_squared_errors",
        "quick.methods.l2_tv.weight.half_squared_errors: lower than 0.000000000001, got -1.0",
    );
    shows("stride = 4", "stride = 0", "stride", "problem.superresolution.stride: lower than 1, got 0");
    shows("sigma = 2.0", "sigma = nan", "sigma", "not a finite number");
    shows(
        "random = 130_000",
        "random = 0",
        "random",
        "paper.methods.patchnr.patches.random: lower than 1, got 0",
    );
    shows(
        "steps = 1_000\nbatch = 64",
        "steps = 0\nbatch = 64",
        "steps",
        "smoke.methods.patchnr.flow.training.steps",
    );
    shows(
        "references = 500",
        "references = 0",
        "references",
        "smoke.methods.wpp.references: lower than 1, got 0",
    );
    let dual = "dual = { converge = { gap = 1e-2,";
    shows(dual, "dual = { converge = { gap = 0.0,", "gap", "smoke.methods.wpp.dual.converge.gap: lower than");
    shows("steps = 10, step = 1.0", "steps = 0, step = 1.0", "steps", "wpp.dual.averaged_sgd.steps: lower");
    shows("psnr = [28.29]", "psnr = []", "psnr", "published.example.rows.patchnr.psnr");
}

#[test]
fn parts_must_fit_together() {
    let size = "superresolution.size = 120";
    shows(size, "superresolution.size = 122", "size", "not a multiple of the stride 4");
    shows(size, "superresolution.size = 80", "size", "a crop of 40");
    shows(
        "scales = 2\nstride = 2",
        "scales = 6\nstride = 2",
        "scales",
        "6 x 6 on all 6 scales, got 120 x 120 pixels and a border of 8",
    );
    let small = "[profile.smoke.methods.patchnr.flow]\npatch_size = 6\nblocks = 2\nhidden = 64\nclamp = 1.6";
    let error = fault(small, &small.replace("clamp = 1.6", "clamp = 1.6\nweights = \"\""));
    assert!(error.to_string().contains("flow.weights"), "{error}");
    let smoke = "\"patchnr\", \"wpp\", \"dpir\"], published = \"example\", show = 1 }]";
    let error = fault(smoke, &smoke.replace("\"patchnr\"", "\"patchnr_authors\""));
    assert!(error.to_string().contains("no section methods.patchnr_authors in this profile"), "{error}");
    let error = fault(smoke, &smoke.replace("\"patchnr\"", "\"sinkhorn\""));
    assert!(error.to_string().contains("sinkhorn has no section methods.sinkhorn"), "{error}");
    let error = fault(smoke, &smoke.replace("\"patchnr\"", "\"fbp\""));
    assert!(error.to_string().contains("fbp makes no sense here: needs projections"), "{error}");
    shows(
        "published = \"example\", show = 1 }]",
        "published = 3, show = 1 }]",
        "3",
        "expected a name, or a list of names",
    );
    let (from, to) = ("published = \"example\", show = 1 }]", "published = \"exmaple\", show = 1 }]");
    let error = fault(from, to);
    assert!(error.to_string().contains("there is example, slices"), "{error}");
    assert_eq!(error.line, line_of(TEXT, from));
    let error = fault("images = [\"sic/test.png\"]", "images = [\"../secret.png\"]");
    assert!(error.to_string().contains("inside of the data folder"), "{error}");
    let (from, to) = ("references = [\"sic/ref.png\"]", "references = [\"/sic/ref.png\"]");
    let error = fault(from, to);
    assert!(error.to_string().contains("data.references[0]") && error.line == line_of(TEXT, from), "{error}");
    let error = fault(
        "schedule = \"constant\"\nvalidation_every",
        "schedule = \"constant\"\nwarmup_steps = 5\nvalidation_every",
    );
    assert!(error.to_string().contains("flow.training.warmup_steps: only the cosine schedule"), "{error}");
    let error = fault("[problem.superresolution]", "[problem.superres]");
    assert!(error.to_string().contains("no such problem; there is superresolution"), "{error}");
    let error = fault("kind = \"reconstruction\"", "kind = \"mixture\"");
    assert!(error.to_string().contains("kind: not reconstruction"), "{error}");
}

#[test]
fn a_file_that_is_no_text_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.toml");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    let shown = Experiment::read(&path).map(|_| ()).unwrap_err().render();
    assert!(shown.starts_with("error: ") && shown.contains("UTF-8") && shown.lines().count() == 1, "{shown}");
    let shown = Experiment::read(&folder.path().join("none.toml")).map(|_| ()).unwrap_err().render();
    assert!(shown.contains("none.toml") && shown.lines().count() == 1, "{shown}");
}

#[test]
fn what_the_profile_table_does_not_give_is_as_in_quick() {
    let (before, paper) = TEXT.split_at(TEXT.find("[profile.paper]").unwrap());
    let without = before.split("[profile.table").next().unwrap();
    let parsed = |own: &str| Experiment::parse("x", FILE, &format!("{without}\n{own}\n{paper}"));
    let same = parsed("").unwrap();
    let keys = |e: &Experiment, name| e.profile(name).rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&same, ProfileName::Table), keys(&same, ProfileName::Quick));
    assert_eq!(same.profile(ProfileName::Table).sets.len(), same.profile(ProfileName::Quick).sets.len());
    let own = "[profile.table]\nsets = [{ images = [\"sic/val.png\"], methods = [\"patchnr\"] }]\n\
               methods.patchnr.flow.training.steps = 9_000\n";
    let table = parsed(own).unwrap();
    assert_eq!(table.profile(ProfileName::Table).sets.len(), 1);
    let of = |name, path: &str| setting(&table, name, "patchnr", path);
    assert_eq!(of(ProfileName::Table, "flow.training.steps"), 9_000.into());
    assert_eq!(of(ProfileName::Quick, "flow.training.steps"), 8_000.into());
    assert_eq!(of(ProfileName::Table, "flow.training.batch"), of(ProfileName::Quick, "flow.training.batch"));
    // Faults are shown where they stand.
    let wrong = parsed("[profile.table]\nmethods.patchnr.flow.training.steps = 0\n").unwrap_err();
    assert!(wrong.to_string().contains("profile.table.methods.patchnr.flow.training.steps"), "{wrong}");
    assert!(wrong.render().contains("methods.patchnr.flow.training.steps = 0"), "{}", wrong.render());
}

#[test]
fn a_row_that_quick_leaves_out_runs_in_the_table() {
    let quick = "[profile.quick.methods.patchnr]";
    let text = TEXT.replacen(quick, &format!("{quick}\nleft_out = \"too long\""), 1);
    let own = "[profile.table.methods.patchnr]\nwork = [10, 2.5]\n";
    let text = text.replacen("[profile.paper]", &format!("{own}\n[profile.paper]"), 1);
    let e = Experiment::parse("x", FILE, &text).unwrap();
    let row = |name| &e.profile(name).rows["patchnr"];
    assert_eq!(row(ProfileName::Quick).left_out.as_deref(), Some("too long"));
    assert_eq!((&row(ProfileName::Table).left_out, row(ProfileName::Table).work), (&None, Some([10.0, 2.5])));
    shows("work = [7_800, 1_200]", "work = [1, -2]", "work", "work: is not two numbers");
}
