//! Table and report: exact header, quoting, and a page that needs nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::smoke::options;
use smalti_base::Seed;
use smalti_methods::synthetic::microstructure;
use smalti_operators::Grid;
use smalti_tables::data::DataSource;
use smalti_tables::evaluate;
use smalti_tables::experiment::{Experiment, ProfileName};
use smalti_tables::options::RunOptions;
use smalti_tables::outcome::{
    Distance, DistanceKind, ExperimentOutcome, Figure, Figures, ReportImage, ScoredImage, TableRow,
    TrainingCurve,
};
use smalti_tables::report::add;
use smalti_tables::run::run;
use smalti_tables::table;

const TEXT: &str = include_str!("../../../../experiments/superres_sic.toml");

fn rows() -> Vec<TableRow> {
    let ours = Figures { psnr: Figure::over(&[28.0, 29.0]), ssim: Figure::over(&[0.75, 0.8]), lpips: None };
    let published = Figures { psnr: Some(Figure { mean: 28.53, std: Some(0.49) }), ..Figures::default() };
    let data = "sic/testset/img1.png to img2.png".to_owned();
    vec![
        TableRow {
            method: "patchnr".into(),
            title: "patchNR".into(),
            images: 2,
            ours,
            seconds_mean: Some(12.3456),
            published,
            distance: None,
            data: data.clone(),
            note: String::new(),
        },
        TableRow {
            method: "l2_tv".into(),
            title: "L2-TV".into(),
            images: 0,
            ours: Figures::default(),
            seconds_mean: None,
            published: Figures::default(),
            distance: None,
            data,
            note: "stopped: \"NaN\", in iteration 3".into(),
        },
    ]
}

#[test]
fn the_csv_is_exact() {
    let expected = "method,images,psnr_mean,psnr_std,ssim_mean,ssim_std,lpips_mean,lpips_std,seconds_mean,\
published_psnr,published_ssim,published_lpips,data,note\n\
patchnr,2,28.5000,0.5000,0.77500,0.02500,,,12.346,28.53,,,sic/testset/img1.png to img2.png,\n\
l2_tv,0,,,,,,,,,,,sic/testset/img1.png to img2.png,\"stopped: \"\"NaN\"\", in iteration 3\"\n";
    assert_eq!(table::csv(&rows()), expected);
}

#[test]
fn readers_see_rounded_figures_and_notes() {
    let markdown = table::markdown(&rows());
    let lines: Vec<&str> = markdown.lines().collect();
    assert_eq!(lines[0], "| method | images | PSNR [dB] | SSIM | s / image | published PSNR | data |");
    assert!(
        lines[2].starts_with("| patchNR | 2 | 28.50 ± 0.50 | 0.775 ± 0.025 | 12.3 | 28.53 ± 0.49 |"),
        "{}",
        lines[2]
    );
    assert!(markdown.ends_with("\n- L2-TV: stopped: \"NaN\", in iteration 3\n"), "{markdown}");
    let terminal = table::terminal(&rows());
    let starts: Vec<usize> =
        terminal.lines().filter_map(|l| l.find("sic/testset").map(|b| l[..b].chars().count())).collect();
    assert!(starts.len() == 2 && starts[0] == starts[1], "columns are aligned\n{terminal}");
    // A bar in a cell does not end the cell.
    let mut barred = rows();
    barred[0].data = "a|b".into();
    assert!(table::markdown(&barred).contains("a\\|b"));
}

/// A figure that is no number is none: the place is empty in the file, and a dash for readers.
#[test]
fn what_is_no_number_is_not_printed() {
    for value in [f64::NAN, f64::INFINITY] {
        let mut rows = rows();
        rows[0].ours.psnr = Figure::over(&[28.0, value]);
        rows[0].ours.ssim = Some(Figure { mean: 0.75, std: Some(value) });
        rows[0].seconds_mean = Some(value);
        let csv = table::csv(&rows);
        assert!(csv.lines().nth(1).unwrap().starts_with("patchnr,2,,,0.75000,,,,,28.53,"), "{csv}");
        for text in [table::markdown(&rows), table::terminal(&rows)] {
            let row = text.lines().find(|line| line.contains("patchNR")).unwrap();
            assert!(row.contains("–") && row.contains("0.750 ± –"), "{row}");
            assert!(!row.contains("NaN") && !row.contains("inf"), "{row}");
        }
        let mut distances = rows;
        let figure = Figure::over(&[value]);
        for row in &mut distances {
            let measure = DistanceKind::Wasserstein1;
            row.distance = Some(Distance { measure, figure, problems: 1, observations: 1, samples: 1 });
        }
        let csv = table::distances_csv(&distances).unwrap();
        assert!(csv.lines().nth(1) == Some("patchnr,1,1,1,,"), "{csv}");
        assert!(table::markdown(&distances).contains("| patchNR | 1 | 1 | 1 | – |"));
    }
}

fn outcome() -> ExperimentOutcome {
    let truth = microstructure(160, 200, Seed::new(9), 0).unwrap();
    let observation = truth.avg_pool2d([4, 4], [4, 4], [0, 0], false, true, None::<i64>);
    let grid = Grid { origin: (1.5, 1.5), spacing: (4.0, 4.0), depth: None };
    let results = [("bicubic", 0.03), ("l2_tv", 0.02), ("patchnr", 0.01)].map(|(key, level)| {
        let noise = Seed::new(1).at(key, 0).normal(&truth.size());
        let image = &truth + noise * level;
        ScoredImage { key: key.into(), title: key.into(), image, psnr: -20.0 * f64::log10(level), ssim: 0.8 }
    });
    let loss = |i: u64| 400.0 * (-(i as f64) / 40.0).exp() - 90.0;
    ExperimentOutcome {
        rows: rows(),
        shown: vec![ReportImage {
            name: "sic/test.png".into(),
            truth,
            observation: Some((observation, grid)),
            window: [0.0, 1.0],
            scored: [(40, 80), (40, 120)],
            results: results.into(),
            maps: Vec::new(),
        }],
        curve: Some(TrainingCurve {
            training: (0..1000).map(|i| (i, loss(i))).collect(),
            validation: (0..10).map(|i| (100 * i, loss(100 * i) + 2.0)).collect(),
        }),
        plots: Vec::new(),
        run: None,
    }
}

#[test]
fn the_report_holds_all_that_it_shows() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("results");
    let experiment = Experiment::parse("superres_sic", "superres_sic.toml", TEXT).unwrap();
    let (profile, data) = (experiment.profile(ProfileName::Smoke), DataSource::Synthetic);
    let options = RunOptions { command_line: "smalti-tables --experiment <b>&".into(), ..options(&folder) };
    let facts = evaluate::facts(&experiment, profile, &data, &options).unwrap();
    add(&options.results, &facts, &outcome()).unwrap();
    options.results.publish().unwrap();

    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    let body = &page[page.find("<body>").unwrap()..];
    let first = body.lines().nth(1).unwrap();
    assert!(first.contains("Data: the built-in synthetic microstructures"), "{first}");
    // 5 versions with overview and inset, 3 of them with an error map; nothing else is loaded.
    assert_eq!(page.matches("src=").count(), 13);
    assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 13);
    for outside in ["http:", "https:", "<link", "<script", "@import", "url(h", "srcset"] {
        let found = page.replace("http://www.w3.org/2000/svg", "").contains(outside);
        assert!(!found, "the report refers to {outside}");
    }
    assert!(page.contains("<svg") && page.contains("28.50 ± 0.50") && page.contains("28.53 ± 0.49"));
    assert!(page.replace("&#x2f;", "/").contains("synthetic/ref (validation: synthetic/val)"));
    assert!(page.contains("smalti-tables --experiment &lt;b&gt;&amp;"), "the command line is escaped");
    for name in ["truth", "observation", "bicubic", "l2_tv-inset", "patchnr-error"] {
        let picture = smalti_base::image_file::load_gray(&folder.join(format!("images/sic-test/{name}.png")));
        assert!(picture.is_ok(), "{name}: {picture:?}");
    }
    let truth = smalti_base::image_file::load_gray(&folder.join("images/sic-test/truth.png")).unwrap();
    let distance = (truth - &outcome().shown[0].truth).abs().max().double_value(&[]);
    assert!(distance <= 0.5 / 255.0 + 1e-6, "{distance}");
}

#[test]
fn a_run_that_fails_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("results");
    let changed = TEXT
        .replace("sic/test.png", "sic/lost.png")
        .replacen(
            r#""l2_tv", "epll", "alr", "patchnr", "wpp", "dpir"], published = "example", show"#,
            r#"], published = "example", show"#,
            1,
        )
        .replace(r#"["bicubic", ]"#, r#"["bicubic"]"#);
    let experiment = Experiment::parse("superres_sic", "superres_sic.toml", &changed).unwrap();
    let data =
        DataSource::Folder { folder: root.path().into(), named_by: smalti_tables::data::NamedBy::Option };
    let error =
        run(&experiment, experiment.profile(ProfileName::Smoke), &data, &options(&folder)).unwrap_err();
    assert!(error.to_string().contains("lost.png"), "{error}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "nothing half-written, nothing hidden");
}
