//! The passes of qcc and their manager.
