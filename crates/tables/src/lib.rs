//! Reads experiments, runs them, writes tables and the report
