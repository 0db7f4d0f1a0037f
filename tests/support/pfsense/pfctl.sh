#!/bin/sh
# Stand-in for FreeBSD 14's pfctl: prints what the stand-in's pf has loaded, and keeps one table. What happens to a
# change of the table is in the file `table-at`: `before cut`, `after cut`, `before down`, `before fail`.
cd '@BOX@' || exit 1

rules() {
	awk 'NF { printf "@%d %s\n  [ Evaluations: 0         Packets: 0         Bytes: 0           States: 0     ]\n  [ Inserted: uid 0 pid 1 State Creations: 0     ]\n", n++, $0 }' "$1"
}

at() {
	read -r when what 2>/dev/null <table-at || return 0
	[ "$when" = "$1" ] || return 0
	case $what in
	fail)
		echo 'pfctl: Cannot allocate memory.' >&2
		exit 1
		;;
	*) ./cut "$what" ;;
	esac
}

change() {
	[ -f table ] || exit 255
	cat >"asked.$$"
	at before
	if [ "$1" = delete ]; then
		grep -Fxf table "asked.$$" >"done.$$"
		grep -Fxvf "done.$$" table >"new.$$"
		mark=D
		words=deleted
	else
		grep -Fxvf table "asked.$$" >"done.$$"
		cat table "done.$$" >"new.$$"
		mark=A
		words=added
	fi
	mv "new.$$" table
	at after
	sed "s/^ */$mark  /" "done.$$"
	echo "$(($(wc -l <"done.$$")))/$(($(wc -l <"asked.$$"))) addresses $words." >&2
	rm -f "asked.$$" "done.$$"
}

case $* in
'-P -sr') exec cat pf/sr ;;
'-P -sn') exec cat pf/sn ;;
-vvPsr)
	# The anchor stands behind every rule of pfSense's, and so tells that the list is whole.
	cp pf/sr "rules.$$"
	echo 'anchor "tftp-proxy/*" all' >>"rules.$$"
	rules "rules.$$"
	rm -f "rules.$$"
	;;
-vvPsn) rules pf/sn ;;
-vvss) ;;
-vsi) cat si ;;
'-t virusprot -T show') sed 's/^ */   /' table ;;
'-t virusprot -T show -v') awk '{ printf "   %s\n\tCleared:     Thu Oct  9 06:06:40 2025\n", $1 }' table ;;
'-t virusprot -T delete -v -f -') change delete ;;
'-t virusprot -T add -v -f -') change add ;;
'-k label '*) echo 'killed 0 states' >&2 ;;
*)
	echo "pfctl: unexpected: $*" >&2
	touch forbidden
	exit 1
	;;
esac
