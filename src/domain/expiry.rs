//! When pf's overload table lets an entry go: the cron item that is configured, not the one that is usual.
