//! Helpers as programs call them.
