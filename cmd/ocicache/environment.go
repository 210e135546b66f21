package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// variables are the environment variables that the program heeds.
var variables = []struct {
	name string
	flag string // of the commands that read it; "" for all
	what string
}{
	{"REGISTRY_AUTH_FILE", "authfile", "the file with credentials, where --authfile names none"},
	{"DOCKER_CONFIG", "authfile", "the directory of Docker's config.json, which may have credentials"},
	{"XDG_RUNTIME_DIR", "authfile", "where containers/auth.json with credentials lies"},
	{"XDG_CONFIG_HOME", "authfile", "where containers/auth.json is looked for next"},
	{"CONTAINERS_REGISTRIES_CONF", "authfile", "in place of registries.conf: mirrors, and registries with plain HTTP"},
	{"HTTPS_PROXY", "authfile", "the proxy for registries; also HTTP_PROXY, and NO_PROXY with hosts that need none"},
	{"SSL_CERT_FILE", "authfile", "certificates that are trusted; also SSL_CERT_DIR"},
	{"JOB_COMPLETION_INDEX", "shard", "the number of the shard, in a Job of Kubernetes; --shard then takes the number of shards alone"},
	{"TMPDIR", "compression", "where layers wait that were recompressed, for a registry or a stream"},
	{"TERM", "", "dumb for a terminal without colours"},
	{"NO_COLOR", "", "no colours, whatever it says; there are none outside of a terminal"},
}

// environmentTopic is the topic that names them all.
func environmentTopic() *cobra.Command {
	var text strings.Builder
	text.WriteString("Environment variables that ocicache heeds. A flag goes before a variable.\n")
	for _, v := range variables {
		text.WriteString("\n  " + v.name + "\n    " + v.what + "\n")
	}
	return &cobra.Command{Use: "environment", Short: "The environment variables that it heeds", Long: strings.TrimSuffix(text.String(), "\n")}
}

// variablesOf returns the variables that a command has of its own.
func variablesOf(cmd *cobra.Command) []string {
	var all []string
	for _, v := range variables {
		if v.flag != "" && cmd.Flags().Lookup(v.flag) != nil {
			all = append(all, v.name)
		}
	}
	return all
}
