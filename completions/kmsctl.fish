# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kmsctl_global_optspecs
    string join \n config= demo o/output= color= q/quiet v/verbose timeout= h/help V/version
end

function __fish_kmsctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kmsctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kmsctl_using_subcommand
    set -l cmd (__fish_kmsctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kmsctl -n "__fish_kmsctl_needs_command" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_needs_command" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_needs_command" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_needs_command" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_needs_command" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -s V -l version -d 'Print version'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "apply" -d 'Apply a plan saved with --plan-out, if nothing moved since'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "config" -d 'Write, show and check the configuration'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "demo" -d 'Run the simulated firewall as an SSH server of its own, or forget its state'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "doctor" -d 'Check every assumption that kmsctl makes, each with its fix'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "expose" -d 'Show whether the service is exposed, close it and open it again'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "history" -d 'Show what was changed, by whom, and how it stands'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "keep" -d 'Make a temporary change permanent'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "notifier" -d 'Tell Slack and Prometheus who activates, from the KMS server\'s log'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "ratelimit" -d 'Show the caps per source and who is near them, and change them'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "rule" -d 'Show the rules of the exposure with their counters'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "runbook" -d 'Read a runbook in the terminal'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "states" -d 'Show the live connections of the service, and end them'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "status" -d 'Show everything on one screen'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "undo" -d 'Take a change back'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "util" -d 'Print completions and man pages'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "verify" -d 'Follow the path of a connection hop by hop, and tell what is wrong with it'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "virusprot" -d 'Show, test and free the addresses that pf has blocked'
complete -c kmsctl -n "__fish_kmsctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -l dry-run -d 'Show what would be done, and whether the plan still holds; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand apply" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -f -a "check" -d 'Check the configuration without connecting'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -f -a "init" -d 'Write a configuration file by questions; never overwrites one'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -f -a "path" -d 'Print where the configuration file is looked for'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -f -a "show" -d 'Show every value and where it came from'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and not __fish_seen_subcommand_from check init path show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from path" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the configuration without connecting'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "init" -d 'Write a configuration file by questions; never overwrites one'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "path" -d 'Print where the configuration file is looked for'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show every value and where it came from'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -f -a "reset" -d 'Forget the state of the simulated firewall'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -f -a "serve" -d 'Serve the simulated firewall over SSH on loopback until interrupted'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and not __fish_seen_subcommand_from reset serve help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from reset" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -l listen -d 'Loopback address and port; port 0 takes a free one' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from help" -f -a "reset" -d 'Forget the state of the simulated firewall'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from help" -f -a "serve" -d 'Serve the simulated firewall over SSH on loopback until interrupted'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand demo; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -l problems -d 'Show only what is wrong or unknown'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -f -a "apply" -d 'Make alias, port forward, filter rule and caps what the configuration says'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -f -a "restore" -d 'Open it again: enable both rules, put back what was deleted, or build them'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -f -a "revoke" -d 'Close it: disable both rules, then end live connections'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -f -a "show" -d 'Show the exposure, rule by rule, with its state and why'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and not __fish_seen_subcommand_from apply restore revoke show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l delete -d 'Remove both rules instead of disabling them; they are saved whole first'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l keep-states -d 'Leave live connections alone'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from help" -f -a "apply" -d 'Make alias, port forward, filter rule and caps what the configuration says'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from help" -f -a "restore" -d 'Open it again: enable both rules, put back what was deleted, or build them'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Close it: disable both rules, then end live connections'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the exposure, rule by rule, with its state and why'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand expose; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l limit -d 'How many changes to list' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l verify -d 'Check that nothing in the history was altered, removed or inserted: exit 3 if so'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l local -d 'Do not ask the firewall for its own history and what is armed there'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand history" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand keep" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -f -a "logs" -d 'Show what the notifier saw, or the server\'s own log, now or as it grows'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -f -a "metrics" -d 'Show the notifier\'s numbers and how fast they grow, without a Prometheus'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -f -a "replay" -d 'Show what `run` would have done with a saved log; sends nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -f -a "run" -d 'Read the server\'s log as it grows, tell Slack, serve metrics; until SIGTERM'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -f -a "status" -d 'Tell whether the notifier is alive, whether it is behind, and what the last hour held'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and not __fish_seen_subcommand_from logs metrics replay run status help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l since -d 'Only what is younger than this, such as 2h [default: 24h; with --follow 10m; with --server the last lines]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l source -d 'Only clients of this class' -r -f -a "external\t''
cluster_node\t''
internal_pod\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l server -d 'Read the server\'s own log file in the pod, through exec; without a filter its lines are printed as they are'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -s f -l follow -d 'Go on as it grows, through restarts and cuts, until Ctrl-C'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l activations -d 'Only activations, refused ones included'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l probes -d 'Only connections without a request'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from logs" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -l watch -d 'Show it again and again; into a pipe, one JSON object a tick' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from metrics" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -l summary -d 'Print the totals only'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -l probes -d 'Show probes in the table as well; other forms always hold them'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -l echo -d 'Print events as JSON to stdout: requests (the default) leaves probes out, all does not' -r -f -a "requests\t''
all\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from help" -f -a "logs" -d 'Show what the notifier saw, or the server\'s own log, now or as it grows'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from help" -f -a "metrics" -d 'Show the notifier\'s numbers and how fast they grow, without a Prometheus'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from help" -f -a "replay" -d 'Show what `run` would have done with a saved log; sends nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from help" -f -a "run" -d 'Read the server\'s log as it grows, tell Slack, serve metrics; until SIGTERM'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from help" -f -a "status" -d 'Tell whether the notifier is alive, whether it is behind, and what the last hour held'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand notifier; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -f -a "default" -d 'Set the caps of the preset `default`'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -f -a "loosen" -d 'Set the caps of the preset `loosen`: when legitimate users are blocked'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -f -a "set" -d 'Set any caps, or those of any preset'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -f -a "show" -d 'Show the caps, which preset they are, whether they bite, and who is over or near'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -f -a "tighten" -d 'Set the caps of the preset `tighten`: for suspected abuse'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and not __fish_seen_subcommand_from default loosen set show tighten help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from default" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from loosen" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l preset -d 'A preset of the configuration' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l max-src-conn -d 'Simultaneous connections per source, or `none`; not given, it stays as it is' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l rate -d 'New connections per source within seconds, or `none`; not given, it stays as it is' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l for -d 'The firewall takes it back by itself after this long, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from tighten" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from help" -f -a "default" -d 'Set the caps of the preset `default`'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from help" -f -a "loosen" -d 'Set the caps of the preset `loosen`: when legitimate users are blocked'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from help" -f -a "set" -d 'Set any caps, or those of any preset'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the caps, which preset they are, whether they bite, and who is over or near'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from help" -f -a "tighten" -d 'Set the caps of the preset `tighten`: for suspected abuse'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand ratelimit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -f -a "show" -d 'Show NAT rule, filter rule and block rule: loaded or not, caps, counters'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and not __fish_seen_subcommand_from show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -l watch -d 'Show it again and again; into a pipe, one JSON object a tick' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show NAT rule, filter rule and block rule: loaded or not, caps, counters'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand rule; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand runbook" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l source -d 'Only this source' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l watch -d 'Show it again and again; into a pipe, one JSON object a tick' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l all -d 'One row per state, both halves of a forwarded connection'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -f -a "kill" -d 'End connections: of these clients, or of all'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and not __fish_seen_subcommand_from kill help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l all -d 'Everybody\'s connections to the service'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from kill" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from help" -f -a "kill" -d 'End connections: of these clients, or of all'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand states; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -l watch -d 'Show it again and again; into a pipe, one JSON object a tick' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l with-pending -d 'Go on although changes saved in the GUI wait to be applied; they are activated too'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand undo" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -f -a "example-config" -d 'Print the example configuration: every key with its default, meaning and environment name'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -f -a "man" -d 'Write the man pages into a directory'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and not __fish_seen_subcommand_from completions example-config man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from completions" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from example-config" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from man" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from help" -f -a "example-config" -d 'Print the example configuration: every key with its default, meaning and environment name'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from help" -f -a "man" -d 'Write the man pages into a directory'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand util; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l from -d 'Use this vantage only; may be given more than once' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l expect -d 'What it should be; without it, what the configuration of the firewall says' -r -f -a "open\t'Clients outside get in'
closed\t'Nobody outside gets in'"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l external -d 'Prove it from outside instead, from every configured vantage'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -f -a "delete" -d 'Free addresses; each is printed with its age'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -f -a "expire" -d 'Free the addresses that were blocked longer ago than this'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -f -a "flush" -d 'Free all addresses; `kmsctl undo` puts them back'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -f -a "show" -d 'Show who is blocked: since when, until when, by what it is released'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -f -a "test" -d 'Test whether addresses are blocked: exit 0 when all are, 3 when at least one is not'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and not __fish_seen_subcommand_from delete expire flush show test help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l older-than -d 'Free entries older than this' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from expire" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l plan-out -d 'Save the plan for `kmsctl apply` instead of doing it' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l reason -d 'Why; goes into the history and into pfSense\'s own' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l dry-run -d 'Show what would be done; change nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -s y -l yes -d 'Do not ask'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from flush" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l older-than -d 'Only entries older than this, such as 2h' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l sort -d 'Order of the entries' -r -f -a "address\t'By address'
newest\t'Newest first'
oldest\t'Oldest first'
release\t'Next released first'
states\t'Most live states first'"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l watch -d 'Show it again and again; into a pipe, one JSON object a tick' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -l config -d 'Read this configuration file [env: KMSCTL_CONFIG]' -r -F
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -s o -l output -d 'Print data as table, json, ndjson or csv [env: KMSCTL_OUTPUT]' -r -f -a "table\t''
json\t''
ndjson\t''
csv\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -l color -d 'Use colour: auto, always or never [env: KMSCTL_COLOR, NO_COLOR]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -l timeout -d 'Give up after this long, such as 30s or 2m [env: KMSCTL_TIMEOUT]' -r
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -l demo -d 'Use the embedded simulated firewall; it keeps its state between runs [env: KMSCTL_DEMO]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -s q -l quiet -d 'Print data and errors only, no talk [env: KMSCTL_QUIET]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -s v -l verbose -d 'Tell the causes of errors and what happens on the way [env: KMSCTL_VERBOSE]'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from help" -f -a "delete" -d 'Free addresses; each is printed with its age'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from help" -f -a "expire" -d 'Free the addresses that were blocked longer ago than this'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from help" -f -a "flush" -d 'Free all addresses; `kmsctl undo` puts them back'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show who is blocked: since when, until when, by what it is released'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from help" -f -a "test" -d 'Test whether addresses are blocked: exit 0 when all are, 3 when at least one is not'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand virusprot; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "apply" -d 'Apply a plan saved with --plan-out, if nothing moved since'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "config" -d 'Write, show and check the configuration'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "demo" -d 'Run the simulated firewall as an SSH server of its own, or forget its state'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "doctor" -d 'Check every assumption that kmsctl makes, each with its fix'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "expose" -d 'Show whether the service is exposed, close it and open it again'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "history" -d 'Show what was changed, by whom, and how it stands'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "keep" -d 'Make a temporary change permanent'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "notifier" -d 'Tell Slack and Prometheus who activates, from the KMS server\'s log'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "ratelimit" -d 'Show the caps per source and who is near them, and change them'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "rule" -d 'Show the rules of the exposure with their counters'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "runbook" -d 'Read a runbook in the terminal'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "states" -d 'Show the live connections of the service, and end them'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "status" -d 'Show everything on one screen'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "undo" -d 'Take a change back'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "util" -d 'Print completions and man pages'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "verify" -d 'Follow the path of a connection hop by hop, and tell what is wrong with it'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "virusprot" -d 'Show, test and free the addresses that pf has blocked'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and not __fish_seen_subcommand_from apply config demo doctor expose history keep notifier ratelimit rule runbook states status undo util verify virusprot help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Check the configuration without connecting'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "init" -d 'Write a configuration file by questions; never overwrites one'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "path" -d 'Print where the configuration file is looked for'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Show every value and where it came from'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from demo" -f -a "reset" -d 'Forget the state of the simulated firewall'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from demo" -f -a "serve" -d 'Serve the simulated firewall over SSH on loopback until interrupted'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from expose" -f -a "apply" -d 'Make alias, port forward, filter rule and caps what the configuration says'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from expose" -f -a "restore" -d 'Open it again: enable both rules, put back what was deleted, or build them'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from expose" -f -a "revoke" -d 'Close it: disable both rules, then end live connections'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from expose" -f -a "show" -d 'Show the exposure, rule by rule, with its state and why'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from notifier" -f -a "logs" -d 'Show what the notifier saw, or the server\'s own log, now or as it grows'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from notifier" -f -a "metrics" -d 'Show the notifier\'s numbers and how fast they grow, without a Prometheus'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from notifier" -f -a "replay" -d 'Show what `run` would have done with a saved log; sends nothing'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from notifier" -f -a "run" -d 'Read the server\'s log as it grows, tell Slack, serve metrics; until SIGTERM'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from notifier" -f -a "status" -d 'Tell whether the notifier is alive, whether it is behind, and what the last hour held'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from ratelimit" -f -a "default" -d 'Set the caps of the preset `default`'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from ratelimit" -f -a "loosen" -d 'Set the caps of the preset `loosen`: when legitimate users are blocked'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from ratelimit" -f -a "set" -d 'Set any caps, or those of any preset'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from ratelimit" -f -a "show" -d 'Show the caps, which preset they are, whether they bite, and who is over or near'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from ratelimit" -f -a "tighten" -d 'Set the caps of the preset `tighten`: for suspected abuse'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from rule" -f -a "show" -d 'Show NAT rule, filter rule and block rule: loaded or not, caps, counters'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from states" -f -a "kill" -d 'End connections: of these clients, or of all'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from util" -f -a "completions" -d 'Print the completion script of a shell'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from util" -f -a "example-config" -d 'Print the example configuration: every key with its default, meaning and environment name'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from util" -f -a "man" -d 'Write the man pages into a directory'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from virusprot" -f -a "delete" -d 'Free addresses; each is printed with its age'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from virusprot" -f -a "expire" -d 'Free the addresses that were blocked longer ago than this'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from virusprot" -f -a "flush" -d 'Free all addresses; `kmsctl undo` puts them back'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from virusprot" -f -a "show" -d 'Show who is blocked: since when, until when, by what it is released'
complete -c kmsctl -n "__fish_kmsctl_using_subcommand help; and __fish_seen_subcommand_from virusprot" -f -a "test" -d 'Test whether addresses are blocked: exit 0 when all are, 3 when at least one is not'
