//! Build, bind, spawn, reload, drain.
