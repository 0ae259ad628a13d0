//! Secret files that change under us.
