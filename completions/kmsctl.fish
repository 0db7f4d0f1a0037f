complete --keep-order --exclusive --command kmsctl --arguments "(COMPLETE=fish kmsctl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
# Completes: apply config demo doctor exporter expose history keep notifier ratelimit rule runbook states status undo util verify virusprot
