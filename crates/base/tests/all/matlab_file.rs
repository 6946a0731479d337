//! Files of MATLAB 7.3.
#![allow(clippy::unwrap_used)] // in helpers, too

use smalti_base::matlab_file::{load_network, load_of_cell};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/matlab").join(name)
}

#[test]
fn layers_have_their_types_and_weights_with_the_axes_of_matlab() {
    let layers = load_network(&golden("tiny_ffdnet.mat")).unwrap();
    let kinds: Vec<&str> = layers.iter().map(|layer| layer.kind.as_str()).collect();
    assert_eq!(kinds, ["SubP", "concat", "conv", "relu", "conv", "SubP"]);
    let sizes: Vec<Vec<i64>> =
        layers.iter().flat_map(|layer| &layer.weights).map(tch::Tensor::size).collect();
    assert_eq!(sizes, [vec![3, 3, 5, 6], vec![6, 1], vec![3, 3, 6, 4], vec![4, 1]]);
    // Each part goes on as it is in the first layer.
    let first = &layers[2].weights[0];
    for k in 0..4 {
        assert_eq!((first.double_value(&[1, 1, k, k]), first.double_value(&[0, 1, k, k])), (1.0, 0.0));
    }
    let bias: Vec<f32> = Vec::try_from(layers[2].weights[1].flatten(0, -1)).unwrap();
    assert_eq!(bias, [1.0, 1.0, 1.0, 1.0, 0.0, 0.2]);
}

fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.mat");
    std::fs::write(&path, bytes).unwrap();
    let line = load_network(&path).unwrap_err().to_string();
    assert!(line.lines().count() == 1 && line.contains("; "), "{line}");
    line
}

#[test]
fn what_is_no_network_is_refused_with_the_remedy() {
    let whole = std::fs::read(golden("tiny_ffdnet.mat")).unwrap();
    for share in [0.2, 0.5, 0.9, 0.999] {
        let line = refused(&whole[..(whole.len() as f64 * share) as usize]);
        assert!(line.contains("is damaged, or no HDF5 file") && line.contains("download it again"), "{line}");
    }
    let line = refused(&std::fs::read(golden("no_layers.mat")).unwrap());
    assert!(line.contains("has no net.layers; give a network as MatConvNet saves it"), "{line}");
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/hdf5/crops.h5");
    assert!(refused(&std::fs::read(images).unwrap()).contains("has no net;"));
    let older = [b"MATLAB 5.0 MAT-file, Platform: GLNXA64".as_slice(), &[0; 200]].concat();
    assert!(refused(&older).contains("older version of MATLAB than 7.3; save it again"));
    assert!(load_network(Path::new("no such file.mat")).unwrap_err().to_string().contains("reading failed"));
}

#[test]
fn arrays_of_a_cell_have_the_axes_of_matlab() {
    let path = golden("cell.mat");
    let first = load_of_cell(&path, "kernels", 0).unwrap();
    assert_eq!((first.size(), first.kind()), (vec![2, 3], tch::Kind::Double));
    let values: Vec<f64> = Vec::try_from(first.flatten(0, -1)).unwrap();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(load_of_cell(&path, "kernels", 1).unwrap().kind(), tch::Kind::Float);
    let line = |name: &str, index: usize| {
        let line = load_of_cell(&path, name, index).unwrap_err().to_string();
        assert!(line.lines().count() == 1 && line.contains("; give a cell of arrays"), "{line}");
        line
    };
    assert!(line("kernels", 2).contains("kernels has 2 arrays, none with number 2 from 0"));
    assert!(line("kernel", 0).contains("has no kernel;"));
    assert!(line("single", 0).contains("single is no cell of 1 to 4096 arrays"));
    assert!(line("#refs#", 0).contains("#refs# is no cell of arrays"));
}
