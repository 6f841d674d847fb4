//! Module borders.
