<?php
/*
 * How kmsctl talks to pfSense's own PHP: read on standard input of /usr/local/bin/php, one request in, one
 * JSON object out between two marker lines. Not for judging: src/domain does that.
 *
 * The script is put together from the files beside this one (request.rs says in which order). The configuration holds
 * password hashes and private keys, so every value that leaves is named; $config is never printed.
 * PHP 7.4 (pfSense 2.6.0) to 8.4; functions of pfSense are tested for, versions are not.
 */

$kmsctl_request = json_decode(base64_decode('@REQUEST@'), true);
$kmsctl_answered = false;

/* A description cut in the middle of a character must not cost the whole. */
function kmsctl_encode($value) {
	return json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_LINE_TERMINATORS
	    | JSON_INVALID_UTF8_SUBSTITUTE);
}

/* Prints the answer once. Whatever was printed before it, by pfSense or by PHP, stays outside the markers. */
function kmsctl_answer($answer) {
	global $kmsctl_request, $kmsctl_answered;
	if ($kmsctl_answered) {
		return;
	}
	$kmsctl_answered = true;
	$nonce = is_array($kmsctl_request) ? $kmsctl_request['nonce'] : '';
	$json = kmsctl_encode($answer);
	if ($json === false) {
		$json = kmsctl_encode(kmsctl_error('encode', json_last_error_msg()));
	}
	while (ob_get_level() > 0 && @ob_end_flush()) {
	}
	echo "\nagent {$nonce} begin\n{$json}\nagent {$nonce} end\n";
}

/* Only the first line of a message: the stack trace below it shows arguments, and those can be secrets. */
function kmsctl_error($kind, $message) {
	$lines = preg_split('/[\r\n]/', trim((string) $message));
	return array('error' => array('kind' => $kind, 'message' => substr($lines[0], 0, 300)));
}

/* The last word when pfSense's code ends the process: a fatal error, or its die() on a broken config.xml. */
function kmsctl_shutdown() {
	global $kmsctl_answered;
	if ($kmsctl_answered) {
		return;
	}
	$error = error_get_last();
	$fatal = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;
	$outcome = function_exists('kmsctl_interrupted') ? kmsctl_interrupted('the process was ended') : null;
	if ($outcome !== null) {
		kmsctl_answer($outcome);
	} elseif (is_array($error) && ($error['type'] & $fatal)) {
		kmsctl_answer(kmsctl_error('fatal', $error['message']));
	} else {
		/* Its parting words, such as "Config.xml is corrupted", are the last line that it printed. */
		$lines = preg_split('/[\r\n]+/', trim((string) ob_get_contents()));
		$said = end($lines) === '' ? '' : ': ' . end($lines);
		kmsctl_answer(kmsctl_error('ended', "pfSense's PHP code ended before the configuration was read{$said}"));
	}
}
?>
