<?php
/*
 * Writing kmsctl's own files on the firewall: the lock, the file of a change, the armed job. Not for pfSense's files.
 *
 * Every change is armed before it is written: a line in /etc/cron.d runs this very script each minute, until the
 * change has ended and (if it is temporary) has been taken back. So whatever ends a change half way, a minute
 * later something looks at what is there and brings it to an end.
 */

/* What came wrong while a file was written, for the sentence. */
function kmsctl_last_error() {
	$error = error_get_last();
	return is_array($error) ? substr($error['message'], 0, 200) : 'unknown error';
}

/* Replaces a file as a whole, readable by root only. The name is hidden until it is complete: cron skips such. */
function kmsctl_put_file($path, $text) {
	$hidden = dirname($path) . '/.' . basename($path) . '.new';
	$file = @fopen($hidden, 'w');
	if ($file === false) {
		return false;
	}
	@chmod($hidden, 0600);
	$written = @fwrite($file, $text) === strlen($text) && @fflush($file);
	/* From PHP 8.1. Before, a power cut can cost the file, as it can cost config.xml. */
	if ($written && function_exists('fsync')) {
		$written = @fsync($file);
	}
	@fclose($file);
	/* A full disk is told by what is there afterwards, not by what fwrite() said. */
	if (!$written || @file_get_contents($hidden) !== $text || !@rename($hidden, $path)) {
		@unlink($hidden);
		return false;
	}
	return true;
}

function kmsctl_make_directory() {
	$directory = kmsctl_state_directory();
	if (!is_dir($directory) && !@mkdir($directory, 0700, true)) {
		return "{$directory} cannot be made: " . kmsctl_last_error();
	}
	return @chmod($directory, 0700) ? null : "{$directory} cannot be made private";
}

/* Begins the file of a change; false if there is one, so that of two claims to an id one wins. */
function kmsctl_claim($stored) {
	$path = kmsctl_stored_path($stored['id']);
	$whole = dirname($path) . '/.claim-' . getmypid();
	if (!kmsctl_put_file($whole, kmsctl_encode($stored))) {
		return null;
	}
	/* A link is made in one step, complete or not at all; opening with 'x' would leave an empty file to a crash. */
	$claimed = @link($whole, $path);
	@unlink($whole);
	return $claimed;
}

function kmsctl_save($stored) {
	return kmsctl_put_file(kmsctl_stored_path($stored['id']), kmsctl_encode($stored));
}

/* Our lock excludes other kmsctl runs; pfSense's own must not be held around write_config(), which takes it again.
 * It dies with the process: 'e' keeps it from the daemons that a reload may start. */
$kmsctl_held = null;

function kmsctl_lock($running) {
	global $kmsctl_held;
	$file = @fopen(kmsctl_lock_path(), 'c+e');
	if ($file === false || !flock($file, LOCK_EX | LOCK_NB)) {
		return false;
	}
	@chmod(kmsctl_lock_path(), 0600);
	ftruncate($file, 0);
	rewind($file);
	fwrite($file, kmsctl_encode($running + array('pid' => getmypid())));
	fflush($file);
	$kmsctl_held = $file;
	return true;
}

function kmsctl_unlock() {
	global $kmsctl_held;
	if ($kmsctl_held !== null) {
		ftruncate($kmsctl_held, 0);
		flock($kmsctl_held, LOCK_UN);
		fclose($kmsctl_held);
		$kmsctl_held = null;
	}
}

function kmsctl_cron_path($id) {
	return kmsctl_path('etc_path', '/etc') . "/cron.d/kmsctl-{$id}";
}

/* First the job, then the line that starts it: nothing is armed that cannot run. */
function kmsctl_arm($id, $php) {
	$itself = base64_decode('@ITSELF@');
	$request = array('nonce' => '', 'php' => $php, 'action' => array('name' => 'revert', 'id' => $id));
	/* The placeholders are spelled in two halves here, so that they stand in this text once. */
	$job = str_replace(array('@' . 'REQUEST@', '@' . 'ITSELF@'),
	    array(base64_encode(kmsctl_encode($request)), base64_encode($itself)), $itself);
	$path = kmsctl_job_path($id);
	if (!kmsctl_put_file($path, $job)) {
		return false;
	}
	$cron = kmsctl_cron_path($id);
	if (!is_dir(dirname($cron)) && !@mkdir(dirname($cron), 0755, true)) {
		return false;
	}
	$line = "# kmsctl finishes or takes back its change {$id}, and removes this file\n"
	    . "PATH=/etc:/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin\n"
	    . "*\t*\t*\t*\t*\troot\t{$php} -f {$path} >/dev/null 2>&1\n";
	return kmsctl_put_file($cron, $line);
}

/* The copy first, because it holds secrets. The line before the job: a job without a line is rubbish, a line without a
 * job is an error each minute. */
function kmsctl_disarm($id) {
	kmsctl_drop_copy($id);
	@unlink(kmsctl_cron_path($id));
	@unlink(kmsctl_job_path($id));
}

/* As long as config.xml is damaged the copy is what mends it. Its second name is what a process that was ended while
 * it mended has left. */
function kmsctl_drop_copy($id) {
	@unlink(kmsctl_hidden_path($id));
	if (kmsctl_is_whole(@file_get_contents(kmsctl_config_path()))) {
		@unlink(kmsctl_copy_path($id));
	}
}

function kmsctl_copy_path($id) {
	return kmsctl_state_directory() . "/config-{$id}.xml";
}

/* Of ended changes of which nothing is armed: what a crash has left, and the records that the client wants forgotten. Another
 * writer's lost version may be the only one, and is left to `doctor --clean`. */
function kmsctl_prune() {
	global $kmsctl_request;
	$action = $kmsctl_request['action'];
	foreach (kmsctl_all_stored() as $stored) {
		if (!kmsctl_is_at_work($stored)) {
			kmsctl_disarm($stored['id']);
			if (in_array($stored['id'], isset($action['forget']) ? $action['forget'] : array(), true)) {
				@unlink(kmsctl_stored_path($stored['id']));
			}
		}
	}
}

/* A broken terminal or link must not end a change: its outcome is asked for later. */
function kmsctl_survive() {
	ignore_user_abort(true);
	set_time_limit(900);
	if (function_exists('pcntl_signal')) {
		pcntl_signal(SIGHUP, SIG_IGN);
		pcntl_signal(SIGPIPE, SIG_IGN);
	}
}
?>
