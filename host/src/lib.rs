//! Wirepost.
