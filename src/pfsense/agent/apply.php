<?php
/*
 * One change from the question to its proof. What was done is written down as it is done, so that whoever comes
 * next (finish.php, in the armed job) knows how far it came.
 */

/* The change that this process is making, for the shutdown function; null before and after. */
$kmsctl_making = null;

function kmsctl_nothing_stored($request) {
	$action = $request['action'];
	$swap = $action['swap'];
	unset($action['swap']);
	return $action + $swap + array(
		'phase' => 'started',
		'kind' => $swap['deletes'] ? 'delete' : 'swap',
		'since' => time(),
		'attempts' => 0,
		/* When the last attempt was counted. */
		'counted' => 0,
		'settled' => false,
		'outcome' => kmsctl_outcome($request, 'unproven', 'it has not come to an end yet'),
	);
}

function kmsctl_outcome($request, $result, $message) {
	$records = kmsctl_present($request['action']['swap']);
	return array(
		'id' => $request['action']['id'],
		'result' => $result,
		'message' => $message,
		'before' => $records,
		'after' => $records,
		'steps' => array(),
		'reverts_at' => null,
		'lost_update' => null,
		'holder' => null,
		'reverted' => null,
	);
}

function kmsctl_step(&$stored, $name, $ok, $detail) {
	$stored['outcome']['steps'][] = array('name' => $name, 'ok' => $ok, 'detail' => $detail);
}

function kmsctl_apply($request) {
	$id = $request['action']['id'];
	$problem = kmsctl_make_directory();
	if ($problem !== null) {
		return kmsctl_outcome($request, 'refused', $problem);
	}
	$known = kmsctl_settled($id);
	if ($known !== null) {
		return $known['outcome'];
	}
	/* An emergency does not depend on what another change still has to do, unless that is to mend config.xml. */
	$closes = $request['action']['swap']['closes']
	    && kmsctl_is_whole(@file_get_contents(kmsctl_config_path()));
	foreach ($closes ? array() : kmsctl_unfinished() as $other) {
		kmsctl_finish_by_job($other['id']);
	}
	$running = array('id' => $id, 'who' => $request['action']['who'],
	    'what' => $request['action']['what'], 'since' => time());
	/* The armed job of another change looks each minute, for a moment. */
	for ($try = 0; !kmsctl_lock($running); $try++) {
		if (!$closes || $try >= 20) {
			return kmsctl_locked($request, kmsctl_holder());
		}
		usleep(500000);
	}
	$taken = $closes ? kmsctl_take_over($request) : array();
	$left = $closes ? array() : kmsctl_unfinished();
	$outcome = $left === array() ? kmsctl_apply_locked($request, $taken) : kmsctl_locked($request, kmsctl_running($left[0]));
	kmsctl_unlock();
	return $outcome;
}

function kmsctl_locked($request, $holder) {
	return array('holder' => $holder) + kmsctl_outcome($request, 'locked', 'another change is being made');
}

/* Everything that is refused before a byte is written; [result, sentence] or null. With a third item that is the step. */
function kmsctl_preflight($request) {
	global $config;
	$judged = kmsctl_judged($request['action']['service']);
	if (hash('sha256', kmsctl_canonical($judged)) !== $request['action']['expect']) {
		return array('stale', 'the rules, the aliases or the separators have changed since they were shown');
	}
	$revert_at = $request['action']['revert_at'];
	if ($revert_at !== null && $revert_at <= time()) {
		return array('refused', 'the time of the rollback has already passed');
	}
	$armed = kmsctl_armed_on($request['action']['service']);
	if ($revert_at !== null && $armed !== array()) {
		/* Its rollback would lead to the other's temporary state, which then nothing takes back. */
		return array('refused', "the temporary change {$armed[0]['id']} is armed on these rules; keep it or undo it first");
	}
	$dirty = kmsctl_dirty();
	if ($dirty !== array() && !$request['action']['with_pending']) {
		return array('pending', 'changes saved in the GUI wait to be applied (' . implode(', ', $dirty)
		    . '); loading the ruleset would apply them too');
	}
	if (kmsctl_has(kmsctl_section('system'), 'disablefilter')) {
		return array('refused', 'filtering is switched off on this firewall');
	}
	if (!kmsctl_has(kmsctl_section('interfaces'), $request['action']['service']['interface'])) {
		return array('refused', "there is no interface {$request['action']['service']['interface']}");
	}
	if (kmsctl_is_secondary()) {
		return array('refused', 'this node is a CARP backup; its rules come from the primary', 'primary');
	}
	$needed = 10 * (int) @filesize(kmsctl_config_path());
	$free = @disk_free_space(kmsctl_conf());
	if ($free !== false && $free < $needed) {
		return array('refused', (int) $free . " bytes are free on the disk of /conf, and a change needs {$needed}: ten times"
		    . ' the configuration', 'room');
	}
	return null;
}

/* A node all of whose CARP addresses are elsewhere; a node cannot know it for sure. */
function kmsctl_is_secondary() {
	$backups = 0;
	foreach (kmsctl_list('virtualip', 'vip') as $address) {
		if (kmsctl_text($address, 'mode') !== 'carp' || !function_exists('get_carp_interface_status')) {
			continue;
		}
		if (get_carp_interface_status('_vip' . kmsctl_text($address, 'uniqid')) !== 'BACKUP') {
			return false;
		}
		$backups++;
	}
	return $backups > 0;
}

function kmsctl_apply_locked($request, $taken) {
	global $config, $kmsctl_making;
	$action = $request['action'];
	$raw = kmsctl_load_to_write();
	$refused = kmsctl_preflight($request);
	if ($refused !== null) {
		$outcome = kmsctl_outcome($request, $refused[0], $refused[1]);
		if (isset($refused[2])) {
			$outcome['steps'][] = array('name' => $refused[2], 'ok' => false, 'detail' => $refused[1]);
		}
		return $outcome;
	}
	$swap = $action['swap'];
	$edited = kmsctl_swapped($swap['before'], $swap['after']);
	if ($edited === null) {
		return kmsctl_outcome($request, 'stale', 'a record that was shown is not there, or twice');
	}
	/* Where the configuration is so already, and pf is not or an older rollback is armed, the ruleset is loaded. */
	$only_loads = kmsctl_rest($edited) === kmsctl_rest($config);
	if ($only_loads && !kmsctl_armed_on($action['service']) && kmsctl_prove($swap['proof']['after'], $action['service']) === null) {
		return kmsctl_outcome($request, 'nothing-to-do', 'it is so already');
	}
	$stored = kmsctl_nothing_stored($request);
	$stored['only_loads'] = $only_loads;
	$lost = $only_loads ? null : kmsctl_not_read_back($edited, $stored['who'], kmsctl_description($stored));
	if ($lost !== null) {
		return kmsctl_outcome($request, 'refused', "pfSense's parser does not read back what pfSense writes in the section {$lost},"
		    . ' such as a long text with umlauts; no other writer was there, and nothing was written. Shorten it in the GUI');
	}
	foreach ($taken as $id) {
		kmsctl_step($stored, 'take-over', true, "{$id} had not come to an end, and its process is dead");
	}
	kmsctl_step($stored, 'compare', true, 'the rules are those that were shown');
	kmsctl_step($stored, 'preflight', true, count(kmsctl_dirty()) . ' pending changes');
	$claimed = kmsctl_claim($stored);
	if ($claimed !== true) {
		return $claimed === false ? kmsctl_settled($stored['id'])['outcome']
		    : kmsctl_outcome($request, 'refused', 'no file can be written: ' . kmsctl_last_error());
	}
	$kmsctl_making = $stored['id'];
	$outcome = kmsctl_make($request, $stored, $edited, $raw);
	$kmsctl_making = null;
	return $outcome;
}

/* Copy, arm, write: in this order, so that a crash leaves nothing armed and nothing written, or armed. */
function kmsctl_make($request, $stored, $edited, $raw) {
	$copied = kmsctl_put_file(kmsctl_copy_path($stored['id']), $raw);
	if (!$copied || !kmsctl_arm($stored['id'], $request['php'])) {
		kmsctl_step($stored, 'arm', false, kmsctl_last_error());
		return kmsctl_end($stored, 'failed', 'the rollback could not be armed, so nothing was written', null);
	}
	kmsctl_step($stored, 'arm', true, kmsctl_cron_path($stored['id']));
	kmsctl_save($stored);
	if ($stored['only_loads']) {
		return kmsctl_load_and_prove($stored);
	}
	list($how, $detail) = kmsctl_write($stored, $edited, $raw, kmsctl_description($stored));
	kmsctl_step($stored, 'write', $how === 'written', $detail);
	kmsctl_save($stored);
	$stand = kmsctl_stand($stored);
	if ($how === 'old' || ($how === 'replaced' && $stand === 'before')) {
		return kmsctl_end($stored, 'failed', "{$detail}; the old rules are in force", null);
	}
	if ($how === 'damaged') {
		/* The job mends it before pfSense's code sees it, now or when there is space again. */
		$stored['outcome']['message'] = "{$detail}; mending it is under way";
		kmsctl_save($stored);
		return kmsctl_after_job($stored['id']);
	}
	if ($stand !== 'after') {
		return kmsctl_end($stored, 'unproven', $detail, null);
	}
	return kmsctl_load_and_prove($stored);
}

function kmsctl_load_and_prove($stored) {
	$problem = kmsctl_reload();
	$loads = $problem === null;
	kmsctl_step($stored, 'reload', $loads, $loads ? '' : $problem[1]);
	if ($loads) {
		$problem = kmsctl_prove($stored['proof']['after'], $stored['service']);
		kmsctl_step($stored, 'prove', $problem === null, $problem === null ? '' : $problem[1]);
	}
	$written = empty($stored['only_loads']) ? 'written' : 'the configuration was so already';
	/* What was not written has nothing to take back. */
	$revert_at = empty($stored['only_loads']) ? $stored['revert_at'] : null;
	if ($problem === null) {
		kmsctl_supersede($stored);
		$lost = $stored['outcome']['lost_update'];
		$message = "{$written}, loaded and proven"
		    . ($lost === null ? '' : "; another writer's change was replaced, his version is {$lost}");
		return kmsctl_end($stored, 'done', $message, $revert_at);
	}
	$stays = !empty($stored['only_loads']) || ($loads && $stored['stays']);
	if ($problem[0] === 'unread' || $stays) {
		/* It stays, and so does what takes a temporary one back: only what contradicts it takes it back now, and of a
		 * closing only a ruleset that does not load. */
		kmsctl_supersede($stored);
		return kmsctl_end($stored, 'unproven', "{$written}, but not proven: {$problem[1]}", $revert_at);
	}
	/* The job does it: pfSense's development branch cannot load its ruleset twice in one process. */
	$stored['phase'] = 'backing-out';
	$stored['why'] = $problem[1];
	$stored['outcome']['result'] = 'unproven';
	$stored['outcome']['message'] = "{$problem[1]}; taking it back is under way";
	kmsctl_save($stored);
	return kmsctl_after_job($stored['id']);
}

/* Called when pfSense's code ends the process or throws, in the middle of a change. */
function kmsctl_interrupted($why) {
	global $kmsctl_making;
	if ($kmsctl_making === null) {
		return null;
	}
	$id = $kmsctl_making;
	$kmsctl_making = null;
	$outcome = kmsctl_after_job($id);
	$lines = preg_split('/[\r\n]/', trim((string) $why));
	$outcome['message'] .= ' (pfSense said: ' . substr($lines[0], 0, 200) . ')';
	return $outcome;
}

/* Lets the job go on with a change. Where cron has started it meanwhile, that is waited for; half a minute at most. */
function kmsctl_after_job($id) {
	kmsctl_unlock();
	kmsctl_finish_by_job($id);
	for ($try = 0; $try < 60; $try++) {
		$stored = kmsctl_stored($id);
		if ($stored === null || $stored['phase'] === 'ended' || kmsctl_lock(kmsctl_running($stored))) {
			break;
		}
		usleep(500000);
	}
	kmsctl_unlock();
	return kmsctl_stored($id)['outcome'];
}

/* Ends the change: first the fact, then what is no longer needed. */
function kmsctl_end($stored, $result, $message, $revert_at) {
	$stored['phase'] = 'ended';
	$stored['revert_at'] = $revert_at;
	$stored['outcome']['result'] = $result;
	$stored['outcome']['message'] = $message;
	$stored['outcome']['after'] = kmsctl_present($stored);
	$stored['outcome']['reverts_at'] = $revert_at;
	if (!kmsctl_save($stored)) {
		/* On a full disk the job stays armed, and comes to the same end when there is space again. */
		$stored['outcome']['message'] .= ' (this could not be noted on the firewall)';
	} elseif ($revert_at === null) {
		kmsctl_disarm($stored['id']);
	} else {
		kmsctl_drop_copy($stored['id']);
	}
	kmsctl_prune();
	return $stored['outcome'];
}
?>
