<?php
/*
 * Making alias, port forward, filter rule and caps what the service needs, from whatever is there: only what differs
 * is touched, and what is new has the shape that pfSense's own port forward page gives it. Each field that is touched
 * is named in the plan (src/domain/plan/build.rs). Who may connect (`source`) is the administrator's: it is not.
 */

function kmsctl_edit_build(&$config, $pair, $service, $change, $who) {
	$problem = kmsctl_bad_caps($change);
	if ($problem === null) {
		$problem = kmsctl_build_alias($config, $pair, $service, !empty($change['alias']));
	}
	if ($problem !== null) {
		return $problem;
	}
	$nat = kmsctl_list('nat', 'rule');
	$filter = kmsctl_list('filter', 'rule');
	$forward = $pair['nat'] === array() ? null : $nat[$pair['nat'][0]];
	$pass = $pair['filter'] === array() ? null : $filter[$pair['filter'][0]];
	if ($forward !== null && trim((string) kmsctl_text($forward['destination'], 'port')) !== (string) $service['port']) {
		return "the port forward is for more than port {$service['port']}";
	}
	if ($forward !== null && !$pair['ours'] && empty($change['alias'])) {
		return 'the port forward of this port leads elsewhere (' . kmsctl_text($forward, 'target') . ')';
	}
	$association = kmsctl_association($forward, $pass);
	$new_forward = kmsctl_build_forward($forward, $service, $change['description'], $association, $who);
	$new_pass = kmsctl_build_pass($pass, $service, $change, $association, $who, $config);
	kmsctl_settle($config, 'nat', $pair['nat'], $new_forward);
	kmsctl_settle($config, 'filter', $pair['filter'], $new_pass);
	return null;
}

/* Replaces the rule where it stands, or appends it, as the port forward page does. */
function kmsctl_settle(&$config, $section, $places, $rule) {
	if ($places !== array()) {
		$config[$section]['rule'][$places[0]] = $rule;
	} else {
		kmsctl_insert_rule($config, $section, PHP_INT_MAX, $rule, kmsctl_separators_of($config, $section));
	}
}

/* The association that joins the two: the one they share, or that one of them has, or a new one. */
function kmsctl_association($forward, $pass) {
	$of_forward = $forward === null || !kmsctl_is_linked($forward) ? null
	    : kmsctl_text($forward, 'associated-rule-id');
	$of_pass = $pass === null || !kmsctl_is_linked($pass) ? null : kmsctl_text($pass, 'associated-rule-id');
	if ($of_forward !== null && ($of_pass === null || $of_pass === $of_forward)) {
		return $of_forward;
	}
	return $forward === null && $of_pass !== null ? $of_pass : 'nat_' . uniqid('', true);
}

function kmsctl_build_alias(&$config, $pair, $service, $may) {
	$aliases = kmsctl_list('aliases', 'alias');
	if ($pair['alias'] === null) {
		if (!$may) {
			return "there is no alias {$service['alias']}";
		}
		$record = array('name' => $service['alias'], 'type' => 'host', 'address' => $service['address'],
		    'descr' => '', 'detail' => '');
		$index = 0;
		foreach ($aliases as $at => $alias) {
			/* The alias page sorts by name; others are not moved for ours. */
			if (strcasecmp((string) kmsctl_text($alias, 'name'), $service['alias']) < 0) {
				$index = $at + 1;
			}
		}
		kmsctl_insert_alias($config, $record, $index);
		return null;
	}
	if (!$may) {
		return null;
	}
	$alias = &$config['aliases']['alias'][$pair['alias']];
	$members = preg_split('/\s+/', trim((string) kmsctl_text($alias, 'address')));
	if (count($members) !== 1 || @inet_pton($members[0]) !== @inet_pton($service['address'])) {
		$alias['address'] = $service['address'];
		/* Descriptions of the members, one each. */
		$alias['detail'] = '';
	}
	kmsctl_set($alias, 'type', 'host');
	return null;
}

/* Lets a filter rule in to the service and nowhere else. Tells whether it did not before. */
function kmsctl_set_way(&$rule, $service) {
	$side = kmsctl_side($rule, 'destination');
	$port = (string) $service['port'];
	if (!$side['not'] && !$side['any'] && (string) $side['network'] === ''
	    && (string) $side['address'] === $service['alias'] && (string) $side['port'] === $port) {
		return false;
	}
	$rule['destination'] = array('address' => $service['alias'], 'port' => $port);
	return true;
}

function kmsctl_family($service) {
	return strpos($service['address'], ':') === false ? 'inet' : 'inet6';
}

function kmsctl_build_forward($rule, $service, $description, $association, $who) {
	$port = (string) $service['port'];
	if ($rule === null) {
		$stamp = kmsctl_stamp($who);
		return array('source' => array('any' => ''),
		    'destination' => array('network' => $service['interface'] . 'ip', 'port' => $port),
		    'ipprotocol' => kmsctl_family($service), 'protocol' => 'tcp', 'target' => $service['alias'],
		    'local-port' => $port, 'interface' => $service['interface'], 'descr' => $description,
		    'associated-rule-id' => $association, 'updated' => $stamp, 'created' => $stamp);
	}
	$differs = kmsctl_enable($rule);
	$destination = kmsctl_side($rule, 'destination');
	/* A virtual address of the firewall is as good as its own; anything else is not an address of the outside. */
	if ($destination['not'] || $destination['any']
	    || ((string) $destination['network'] === '' && (string) $destination['address'] === '')) {
		$rule['destination'] = array('network' => $service['interface'] . 'ip', 'port' => $port);
		$differs = true;
	}
	$differs = kmsctl_set($rule, 'protocol', 'tcp') || $differs;
	$differs = kmsctl_set($rule, 'target', $service['alias']) || $differs;
	$differs = kmsctl_set($rule, 'local-port', $port) || $differs;
	$differs = kmsctl_set($rule, 'associated-rule-id', $association) || $differs;
	if ($differs) {
		$rule['updated'] = kmsctl_stamp($who);
	}
	return $rule;
}

function kmsctl_enable(&$rule) {
	$was = kmsctl_has($rule, 'disabled');
	unset($rule['disabled']);
	return $was;
}

function kmsctl_build_pass($rule, $service, $change, $association, $who, $config) {
	if ($rule === null) {
		$tracker = time();
		while (kmsctl_tracker_taken($config, (string) $tracker)) {
			$tracker++;
		}
		$rule = array('source' => array('any' => ''), 'interface' => $service['interface'],
		    'ipprotocol' => kmsctl_family($service), 'protocol' => 'tcp',
		    'destination' => array('address' => $service['alias'], 'port' => (string) $service['port']));
		kmsctl_set_caps($rule, $change);
		return $rule + array('descr' => kmsctl_cut("NAT {$change['description']}", 62),
		    'associated-rule-id' => $association, 'tracker' => (string) $tracker,
		    'created' => array('time' => (string) time(), 'username' => 'NAT Port Forward'));
	}
	$differs = kmsctl_enable($rule);
	$differs = kmsctl_set_way($rule, $service) || $differs;
	$differs = kmsctl_set($rule, 'protocol', 'tcp') || $differs;
	if ((string) kmsctl_text($rule, 'type') !== '') {
		$differs = kmsctl_set($rule, 'type', 'pass') || $differs;
	}
	if (kmsctl_text($rule, 'statetype') === 'none') {
		$differs = kmsctl_set($rule, 'statetype', 'keep state') || $differs;
	}
	$differs = kmsctl_set($rule, 'associated-rule-id', $association) || $differs;
	$differs = kmsctl_set_caps($rule, $change) || $differs;
	if ($differs) {
		$rule['updated'] = kmsctl_stamp($who);
	}
	return $rule;
}

/* pfSense cuts at 62 bytes; not within a character, which PHP 7.4 would drop together with all of the text. */
function kmsctl_cut($text, $bytes) {
	if (strlen($text) <= $bytes) {
		return $text;
	}
	while ($bytes > 0 && (ord($text[$bytes]) & 0xc0) === 0x80) {
		$bytes--;
	}
	return substr($text, 0, $bytes);
}

/* The change in words, for the lock's holder and for pfSense's configuration history. */
function kmsctl_words($change) {
	$caps = function ($change) {
		$words = array();
		if (isset($change['max_src_conn'])) {
			$words[] = "{$change['max_src_conn']} connections";
		}
		if (isset($change['rate'])) {
			$words[] = "{$change['rate']['connections']} in {$change['rate']['seconds']} s";
		}
		return $words === array() ? 'none' : implode(', ', $words);
	};
	switch ($change['kind']) {
	case 'caps':
		return 'caps per source: ' . $caps($change);
	case 'disable':
		return 'exposure disabled';
	case 'enable':
		return 'exposure enabled';
	case 'delete':
		return 'exposure deleted';
	case 'put-back':
		return 'exposure put back';
	default:
		return 'exposure built, caps per source: ' . $caps($change);
	}
}
?>
