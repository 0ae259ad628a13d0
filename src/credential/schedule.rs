//! When to renew: pure rules of time.
