//! A tile of a product: what an inner kernel is asked for.

/// What `alpha A B` is added to.
#[derive(Clone, Copy)]
pub(super) enum Base {
    /// Nothing: C is not read.
    Zero,
    /// C times a factor.
    Scaled(f32),
    /// The same row for every row of the tile, as many numbers as columns; C is
    /// not read.
    Row(*const f32),
}

/// `C <- alpha A B + base` for one tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Length of the sum.
    pub(super) k: usize,
    /// First element of A; element (i, k) is `i * a_strides[0] + k * a_strides[1]`
    /// further on.
    pub(super) a: *const f32,
    pub(super) a_strides: [isize; 2],
    /// First element of B, whose rows are contiguous.
    pub(super) b: *const f32,
    pub(super) b_stride: isize,
    /// First element of C, whose rows are contiguous.
    pub(super) c: *mut f32,
    pub(super) c_stride: isize,
    /// Columns of B and C, at most those of a full tile.
    pub(super) columns: usize,
    pub(super) alpha: f32,
    pub(super) base: Base,
}

/// The tile's rows as fit into registers, with vectors of one instruction set.
///
/// # Safety
/// The processor must have the instruction set; A must be readable in `rows` x
/// k elements, B in k x columns, C writable in rows x columns; `rows` is at most
/// the number of rows of a full tile.
pub(super) type Kernel = unsafe fn(rows: usize, tile: Tile);

/// An instruction set's kernel, and the size of its full tile.
#[derive(Clone, Copy)]
pub(super) struct TileShape {
    pub(super) rows: usize,
    /// Rows of a tile that is no wider than a vector.
    pub(super) thin_rows: usize,
    pub(super) columns: usize,
    /// Columns of a vector.
    pub(super) lanes: usize,
    /// Longest stretch of K: with it, a panel of B stays in a core's first cache.
    pub(super) stretch: usize,
    /// The shape for results that fill half a vector at most.
    pub(super) half: Option<&'static TileShape>,
    pub(super) kernel: Kernel,
}

impl TileShape {
    /// The shape for a result of `columns` columns. It keeps the stretch, on which
    /// the bits of a sum depend.
    pub(super) fn of_result(self, columns: usize) -> Self {
        match self.half {
            Some(half) if columns <= half.lanes => TileShape {
                stretch: self.stretch,
                ..*half
            },
            _ => self,
        }
    }

    /// Rows of the next tile of a result of `columns` columns, of which `left` rows
    /// are left. A last tile of a row or two would wait for its own sums, so two
    /// tiles share what is left then.
    pub(super) fn next_rows(self, columns: usize, left: usize) -> usize {
        let rows = self.rows_for(columns);
        match left {
            left if left <= rows => left,
            left if left < rows + rows / 2 => left.div_ceil(2),
            _ => rows,
        }
    }

    /// Rows of a full tile of a result of `columns` columns.
    pub(super) fn rows_for(self, columns: usize) -> usize {
        match columns <= self.lanes {
            true => self.thin_rows,
            false => self.rows,
        }
    }
}
