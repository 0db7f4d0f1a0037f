#!/bin/sh
# Ends the connection under which this is run: the process of the test's own sshd that serves it, and no other's. With
# `down`, later ones end as they begin.
[ "$1" != down ] || : >'@BOX@/down'
pid=$$
while [ "$pid" -gt 1 ]; do
	# Number, name, state, parent.
	set -- $(cat "/proc/$pid/stat")
	if [ "$4" = '@LISTENER@' ]; then
		kill -9 "$pid"
		exit
	fi
	pid=$4
done
