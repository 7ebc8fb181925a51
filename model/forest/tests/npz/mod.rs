//! Reads numpy's `.npz`: a zip archive of `.npy` arrays. Only what the parity sets use; a file that is
//! not understood fails the test.

use ndarray::{Array2, ShapeBuilder};
use std::{collections::HashMap, path::Path};

/// Every array of the file, as 64-bit floats; one-dimensional arrays become one column.
pub fn read(path: &Path) -> HashMap<String, Array2<f64>> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // The end-of-directory record is the last one of the file and has no comment here.
    let end = bytes.len() - 22;
    assert_eq!(
        &bytes[end..end + 4],
        b"PK\x05\x06",
        "{} is not a zip archive",
        path.display()
    );
    let (entries, mut at) = (number(&bytes, end + 10, 2), number(&bytes, end + 16, 4));
    let mut arrays = HashMap::new();
    for _ in 0..entries {
        assert_eq!(
            &bytes[at..at + 4],
            b"PK\x01\x02",
            "{}: directory entry at {at}",
            path.display()
        );
        let (method, packed) = (number(&bytes, at + 10, 2), number(&bytes, at + 20, 4));
        let (name_len, extra_len, comment_len) = (
            number(&bytes, at + 28, 2),
            number(&bytes, at + 30, 2),
            number(&bytes, at + 32, 2),
        );
        let local = number(&bytes, at + 42, 4);
        let name = String::from_utf8(bytes[at + 46..at + 46 + name_len].to_vec())
            .expect("a name in UTF-8");
        let data = local + 30 + number(&bytes, local + 26, 2) + number(&bytes, local + 28, 2);
        let data = &bytes[data..data + packed];
        let npy = match method {
            0 => data.to_vec(),
            8 => miniz_oxide::inflate::decompress_to_vec(data).expect("deflated data"),
            other => panic!("{name}: compression method {other}"),
        };
        arrays.insert(name.trim_end_matches(".npy").to_string(), array(&npy));
        at += 46 + name_len + extra_len + comment_len;
    }
    arrays
}

fn array(npy: &[u8]) -> Array2<f64> {
    assert_eq!(&npy[..8], b"\x93NUMPY\x01\x00", "not a version 1.0 array");
    let data = 10 + number(npy, 8, 2);
    let header = std::str::from_utf8(&npy[10..data]).expect("a header in ASCII");
    let field = |name: &str| {
        header
            .split_once(&format!("'{name}': "))
            .unwrap_or_else(|| panic!("no {name} in {header}"))
            .1
    };
    let shape: Vec<usize> = field("shape")[1..]
        .split(')')
        .next()
        .expect("a closing bracket")
        .split(',')
        .filter_map(|part| part.trim().parse().ok())
        .collect();
    let values: Vec<f64> = match &field("descr")[1..4] {
        "<f8" => npy[data..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect(),
        "<i8" => npy[data..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes) as f64)
            .collect(),
        "<i4" => npy[data..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| i32::from_le_bytes(*bytes).into())
            .collect(),
        "<i2" => npy[data..]
            .as_chunks()
            .0
            .iter()
            .map(|bytes| i16::from_le_bytes(*bytes).into())
            .collect(),
        "|u1" => npy[data..].iter().map(|byte| (*byte).into()).collect(),
        other => panic!("element type {other}"),
    };
    let (rows, columns) = (shape[0], shape.get(1).copied().unwrap_or(1));
    Array2::from_shape_vec(
        (rows, columns).set_f(field("fortran_order").starts_with("True")),
        values,
    )
    .expect("as many values as the shape says")
}

fn number(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}
