//! One isolation tree, in two forms: its shape as stored, and the table it is scored with.
//!
//! The shape is the list of nodes in preorder. The table is a perfect binary tree in heap order
//! (children of `i` at `2i+1` and `2i+2`): no child pointers to load, the same number of steps for
//! every row, and therefore no branch that could be mispredicted. A leaf above the last level is
//! continued by splits that always go left.

use crate::math::average_path;

/// A node of the shape. `rows` counts the sample rows that ended in the leaf.
#[derive(Clone, Copy, Debug, PartialEq, bincode::Encode, bincode::Decode)]
pub enum Node {
    Leaf {
        rows: u32,
    },
    /// Rows with `value <= threshold` are in the subtree that follows, the others in the one after it.
    Split {
        column: u16,
        threshold: f32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    shape: Vec<Node>,
    depth: u32,
    splits: Vec<Split>,
    /// Expected path length of a sample row that got to this cell; the last level holds the path lengths of the leaves.
    expected: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Split {
    threshold: f32,
    column: u32,
}

/// Continues a leaf: nothing finite is greater, so every row goes left.
const PASS: Split = Split {
    threshold: f32::INFINITY,
    column: 0,
};

/// Rows walked down together: enough independent loads in flight to hide their latency.
pub const LANES: usize = 16;

/// Levels that are taken for all lanes at once, see [`Tree::first_levels`].
const TOGETHER: u32 = 3;

impl Tree {
    /// Lays a shape out for scoring. `Err` says what no grown tree could have.
    pub fn new(
        shape: Vec<Node>,
        columns: usize,
        samples: u32,
        height: u32,
    ) -> Result<Tree, String> {
        let depth = check(&shape, columns, samples, height)?;
        let cells = (1usize << (depth + 1)) - 1;
        let mut tree = Tree {
            shape,
            depth,
            splits: vec![PASS; cells / 2],
            expected: vec![0.0; cells],
        };
        let mut next = 0;
        tree.lay_out(&mut next, 0, 0);
        assert_eq!(next, tree.shape.len(), "a checked shape was not used up");
        Ok(tree)
    }

    /// Lays out the subtree at `next` below `cell`; gives its rows and its expected path length. Recursion is bounded by the checked height.
    fn lay_out(&mut self, next: &mut usize, cell: usize, level: u32) -> (u32, f64) {
        let node = self.shape[*next];
        *next += 1;
        let (rows, expected) = match node {
            Node::Leaf { rows } => {
                let path = f64::from(level) + average_path(rows);
                self.fill(cell, path as f32);
                (rows, path)
            }
            Node::Split { column, threshold } => {
                self.splits[cell] = Split {
                    threshold,
                    column: u32::from(column),
                };
                let (left, left_path) = self.lay_out(next, 2 * cell + 1, level + 1);
                let (right, right_path) = self.lay_out(next, 2 * cell + 2, level + 1);
                let rows = left + right;
                (
                    rows,
                    (f64::from(left) * left_path + f64::from(right) * right_path) / f64::from(rows),
                )
            }
        };
        self.expected[cell] = expected as f32;
        (rows, expected)
    }

    fn fill(&mut self, cell: usize, path: f32) {
        self.expected[cell] = path;
        // Only the left continuation is ever reached.
        let mut below = cell;
        while 2 * below + 1 < self.expected.len() {
            below = 2 * below + 1;
            self.expected[below] = path;
        }
    }

    pub fn shape(&self) -> &[Node] {
        &self.shape
    }

    /// Expected path length of the rows it was grown from.
    pub fn expected(&self) -> f64 {
        f64::from(self.expected[0])
    }

    /// Adds the path length of each of [`LANES`] rows; `columns[c]` holds column `c` of all of them.
    pub fn add_paths(&self, columns: &[[f32; LANES]], sums: &mut [f64; LANES]) {
        let (mut cells, first) = if self.depth >= TOGETHER {
            (self.first_levels(columns), TOGETHER)
        } else {
            ([0; LANES], 0)
        };
        for _ in first..self.depth {
            for lane in 0..LANES {
                let split = self.splits[cells[lane] as usize];
                let value = columns[split.column as usize][lane];
                cells[lane] = 2 * cells[lane] + 1 + u32::from(value > split.threshold);
            }
        }
        for lane in 0..LANES {
            sums[lane] += f64::from(self.expected[cells[lane] as usize]);
        }
    }

    /// The cells after [`TOGETHER`] levels. There are few splits up there: taking all of them for all lanes needs no
    /// per-lane look-ups, so the compiler makes vector instructions of it.
    fn first_levels(&self, columns: &[[f32; LANES]]) -> [u32; LANES] {
        let mut right = [[0u32; LANES]; (1 << TOGETHER) - 1];
        for (right, split) in right.iter_mut().zip(&self.splits) {
            let values = &columns[split.column as usize];
            for lane in 0..LANES {
                right[lane] = u32::from(values[lane] > split.threshold);
            }
        }
        let choose = |bit: u32, zero: u32, one: u32| zero ^ ((zero ^ one) & bit.wrapping_neg());
        let mut cells = [0; LANES];
        for lane in 0..LANES {
            let first = right[0][lane];
            let second = choose(first, right[1][lane], right[2][lane]);
            let third = choose(
                first,
                choose(second, right[3][lane], right[4][lane]),
                choose(second, right[5][lane], right[6][lane]),
            );
            cells[lane] = 7 + 4 * first + 2 * second + third;
        }
        cells
    }

    /// Path length of one row; every change of the expected path length is credited to the column that was split on.
    pub fn credit(&self, row: &[f32], credits: &mut [f64]) -> f64 {
        let mut cell = 0;
        for _ in 0..self.depth {
            let split = self.splits[cell];
            let below = 2 * cell + 1 + usize::from(row[split.column as usize] > split.threshold);
            credits[split.column as usize] +=
                f64::from(self.expected[below]) - f64::from(self.expected[cell]);
            cell = below;
        }
        f64::from(self.expected[cell])
    }
}

/// Depth of a shape that a tree of `samples` rows can have.
fn check(shape: &[Node], columns: usize, samples: u32, height: u32) -> Result<u32, String> {
    // Levels of the subtrees still to come, the nearest last: at most one per level.
    let mut open = vec![0u32];
    let (mut rows, mut depth) = (0u64, 0u32);
    for (position, node) in shape.iter().enumerate() {
        let Some(level) = open.pop() else {
            return Err(format!("node {position} lies outside its tree"));
        };
        match *node {
            Node::Leaf { rows: 0 } => return Err(format!("leaf {position} holds no rows")),
            Node::Leaf { rows: leaf } => {
                rows += u64::from(leaf);
                depth = depth.max(level);
            }
            Node::Split { column, .. } if usize::from(column) >= columns => {
                return Err(format!(
                    "node {position} splits on column {column} of {columns}"
                ));
            }
            Node::Split { threshold, .. } if !threshold.is_finite() => {
                return Err(format!("node {position} splits at {threshold}"));
            }
            Node::Split { .. } if level >= height => {
                return Err(format!("node {position} lies deeper than {height} levels"));
            }
            Node::Split { .. } => open.extend([level + 1, level + 1]),
        }
    }
    if !open.is_empty() {
        return Err(format!("{} subtrees are missing", open.len()));
    }
    if rows != u64::from(samples) {
        return Err(format!(
            "a tree holds {rows} rows, its forest's trees were grown from {samples}"
        ));
    }
    Ok(depth)
}
