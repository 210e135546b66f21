package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// variables are the environment variables that the program uses.
var variables = []struct {
	name string
	flag string // a flag of the commands that read it; "" for all commands
	what string
}{
	{"REGISTRY_AUTH_FILE", "authfile", "the file with credentials, if --authfile is not given"},
	{"DOCKER_CONFIG", "authfile", "the directory of Docker's config.json, which can hold credentials"},
	{"XDG_RUNTIME_DIR", "authfile", "where to look for containers/auth.json with credentials"},
	{"XDG_CONFIG_HOME", "authfile", "where to look for containers/auth.json next"},
	{"CONTAINERS_REGISTRIES_CONF", "authfile", "used in place of registries.conf: mirrors, and registries with plain HTTP"},
	{"HTTPS_PROXY", "authfile", "the proxy for registries; also HTTP_PROXY, and NO_PROXY for hosts that need none"},
	{"SSL_CERT_FILE", "authfile", "certificates to trust; also SSL_CERT_DIR"},
	{"JOB_COMPLETION_INDEX", "shard", "the number of the shard, in a Kubernetes Job; --shard then only needs the number of shards"},
	{"TMPDIR", "compression", "where recompressed layers are kept until they are sent to a registry or a stream"},
	{"TERM", "", "set to dumb for a terminal without colours"},
	{"NO_COLOR", "", "set to anything to turn colours off; they are only used on a terminal"},
}

// environmentTopic returns the help topic that lists them.
func environmentTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString("Environment variables that ocicache uses. Flags take precedence over variables.\n")
	for _, v := range variables {
		text.WriteString("\n  " + v.name + "\n    " + v.what + "\n")
	}
	return &cobra.Command{Use: "environment", Short: "The environment variables that ocicache uses", Long: strings.TrimSuffix(text.String(), "\n")}
}

// variablesOf returns the variables that are read by a command but not by all.
func variablesOf(cmd *cobra.Command) []string {
	var all []string
	for _, v := range variables {
		if v.flag != "" && cmd.Flags().Lookup(v.flag) != nil {
			all = append(all, v.name)
		}
	}
	return all
}
