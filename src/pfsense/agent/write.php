<?php
/*
 * Writing config.xml through pfSense, and knowing afterwards what stands there. pfSense's write_config() has no
 * compare-and-swap, returns -1 (which is true) for a failed write, and calls a cut file on a full disk a success
 * (pfSense 2.6.0 to 2.7.2 and development, config.lib.inc): what was written is read again and compared whole.
 */

function kmsctl_config_path() {
	return kmsctl_conf() . '/config.xml';
}

/* Reads config.xml itself into $config, and returns its text. */
function kmsctl_load() {
	for ($try = 0; $try < 5; $try++) {
		$raw = @file_get_contents(kmsctl_config_path());
		kmsctl_parse_config();
		if ($raw !== false && $raw === @file_get_contents(kmsctl_config_path())) {
			return $raw;
		}
	}
	throw new Exception('config.xml changes while it is read');
}

/* As above, and in another second than the last write: pfSense names its backups by the second, so a third writer in the
 * same one would replace what tells of a lost update. */
function kmsctl_load_to_write() {
	for ($try = 0; $try < 10; $try++) {
		$raw = kmsctl_load();
		$last = (int) kmsctl_revision_time();
		/* A revision from the future is a clock that was set back; waiting does not help. */
		if ($last < time() || $last > time() + 2) {
			break;
		}
		usleep(200000);
	}
	return $raw;
}

/* pfSense's parser takes a file cut at a multiple of 4096 bytes for whole. */
function kmsctl_is_whole($raw) {
	return is_string($raw) && substr(rtrim($raw), -10) === '</pfsense>';
}

function kmsctl_revision_time() {
	return (string) kmsctl_text(kmsctl_section('revision'), 'time');
}

/* write_config() has saved what it replaced under the time of the revision we had loaded. If that is not what we had
 * loaded, somebody has written in between, and his version is there: it is put where no other backup replaces it. */
function kmsctl_lost_update($id, $time, $raw) {
	$backup = kmsctl_conf() . "/backup/config-{$time}.xml";
	$saved = $time === '' ? false : @file_get_contents($backup);
	if ($saved === false || $saved === $raw) {
		return null;
	}
	$kept = kmsctl_state_directory() . "/lost-{$id}-{$time}.xml";
	return kmsctl_put_file($kept, $saved) ? $kept : $backup;
}

/* Whether a configuration that cannot be parsed, as its end is missing, bears another writer's revision. Where the
 * revision is what is missing nobody can tell. */
function kmsctl_is_another_writers($id, $raw) {
	return preg_match('#<revision>.*?<description>(.*?)</description>#s', (string) $raw, $found) === 1
	    && strpos($found[1], "kmsctl {$id}: ") === false;
}

/* Puts a good copy in the place of a damaged config.xml: ours, or the version of another writer who came between our reading
 * and our writing. A link and a rename need no space, and pfSense's code is not needed: it would end, or restore what it
 * likes. Returns where what another writer has made of the damaged one (`seen`, if we saw it) is kept, or null. */
function kmsctl_mend($id, $seen) {
	$config = kmsctl_config_path();
	$source = kmsctl_copy_path($id);
	$copy = @file_get_contents($source);
	$lock = function_exists('lock') ? lock('config', LOCK_EX) : null;
	$cut = @file_get_contents($config);
	$kept = null;
	if (kmsctl_is_whole($copy) && !kmsctl_is_whole($cut)) {
		/* He may have loaded and saved the damaged one before we had read it, or since. */
		if (($seen !== null && $cut !== $seen) || kmsctl_is_another_writers($id, $cut)) {
			$kept = kmsctl_state_directory() . "/lost-{$id}-damaged.xml";
			@unlink($kept);
			$kept = @link($config, $kept) ? $kept : null;
		}
		$backup = kmsctl_conf() . '/backup/config-' . kmsctl_time_of($copy) . '.xml';
		$source = kmsctl_is_whole(@file_get_contents($backup)) ? $backup : $source;
		$hidden = kmsctl_hidden_path($id);
		$mode = @fileperms($config);
		@unlink($hidden);
		if (@link($source, $hidden) && @rename($hidden, $config) && $mode !== false) {
			@chmod($config, $mode & 0777);
		}
	}
	if ($lock !== null) {
		unlock($lock);
	}
	return $kept;
}

/* The time of the revision that a configuration's text bears, by which pfSense names its backup. */
function kmsctl_time_of($raw) {
	return preg_match('#<revision>.*?<time>([0-9]+)</time>#s', (string) $raw, $found) ? $found[1] : '';
}

/* What pfSense records of a write of ours. */
function kmsctl_description($stored) {
	$reason = (string) $stored['reason'] === '' ? '' : ": {$stored['reason']}";
	return "kmsctl {$stored['id']}: {$stored['what']}{$reason}";
}

/* Sections that pfSense's parser does not read back as its writer writes them, or null: it reads 4096 bytes at a time, and a
 * long text that straddles such a place can come back otherwise. Tried on a copy, twice, with the revision that the write
 * will have, as that moves everything behind it. */
function kmsctl_not_read_back($edited, $who, $description) {
	global $g;
	if (!function_exists('dump_xml_config') || !function_exists('parse_xml_config')) {
		return null;
	}
	$root = isset($g['xml_rootobj']) ? $g['xml_rootobj'] : 'pfsense';
	$path = kmsctl_state_directory() . '/.trial-' . getmypid();
	$user = "kmsctl ({$who})";
	$edited['revision'] = array('time' => (string) time(), 'description' => "{$user}: {$description}",
	    'username' => $user);
	$present = $edited;
	for ($round = 0; $round < 2; $round++) {
		if (!kmsctl_put_file($path, dump_xml_config($present, $root))) {
			/* A disk that has no room for it is told by the write. */
			return null;
		}
		$present = parse_xml_config($path, $root);
		@unlink($path);
		$present = is_array($present) ? $present : array();
		$differ = array_filter(array_keys($edited + $present), function ($name) use ($edited, $present) {
			return !kmsctl_same(isset($edited[$name]) ? $edited[$name] : '', isset($present[$name]) ? $present[$name] : '');
		});
		if ($differ !== array()) {
			return implode(', ', array_slice($differ, 0, 5));
		}
	}
	return null;
}

/*
 * Writes the edited configuration. Returns how it stands on disk now, and a sentence:
 *   written      what was meant, to the letter
 *   old          as before
 *   replaced     another writer has written after us
 *   damaged      neither, and it could not be repaired
 */
function kmsctl_write(&$stored, $edited, $raw, $description) {
	global $config;
	$id = $stored['id'];
	$time = kmsctl_revision_time();
	$wanted = kmsctl_rest($edited);
	$_SESSION['Username'] = "kmsctl ({$stored['who']})";
	$config = $edited;
	$returned = write_config($description);
	$said = is_array($returned) ? '' : ' (write_config returned ' . var_export($returned, true) . ')';
	$now = @file_get_contents(kmsctl_config_path());
	if ($now === $raw) {
		kmsctl_load();
		return array('old', "pfSense did not write the configuration{$said}");
	}
	$lost = kmsctl_lost_update($id, $time, $raw);
	if ($lost !== null) {
		$stored['outcome']['lost_update'] = $lost;
	}
	if (kmsctl_is_whole($now)) {
		kmsctl_load();
		if (kmsctl_rest($config) === $wanted) {
			return array('written', "revision " . kmsctl_revision_time());
		}
		$last = (string) kmsctl_text(kmsctl_section('revision'), 'description');
		if (strpos($last, "kmsctl {$id}: ") === false) {
			return array('replaced', 'another writer has written after us');
		}
	}
	$kept = kmsctl_mend($id, $now);
	$stored['outcome']['lost_update'] = $kept === null ? $stored['outcome']['lost_update'] : $kept;
	@unlink(kmsctl_path('tmp_path', '/tmp') . '/config.cache');
	$now = @file_get_contents(kmsctl_config_path());
	if (!kmsctl_is_whole($now)) {
		return array('damaged', 'config.xml is damaged; a good copy is ' . ($lost === null ? kmsctl_copy_path($id) : $lost));
	}
	kmsctl_load();
	$is_his = $lost !== null && $now === @file_get_contents($lost);
	if ($is_his && $kept === null) {
		/* His version is in its place again. */
		$stored['outcome']['lost_update'] = null;
	}
	return $is_his || $now === $raw
	    ? array('old', 'the written configuration was damaged, and the one before was put back')
	    : array('replaced', 'the written configuration was damaged, and another writer has written since');
}
?>
