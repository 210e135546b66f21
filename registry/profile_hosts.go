package registry

import (
	"net"
	"path"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
)

// ProfileForRepository returns the profile of the registry that a repository is in, as ProfileForHost does.
func ProfileForRepository(name string) (Profile, bool) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return Profile{}, false
	}
	return ProfileForHost(reference.Domain(named))
}

// ProfileForHost returns the profile of a registry that is known by its host name, given with or without a port. Most
// hosts are not: what runs there does not say what it is.
func ProfileForHost(host string) (Profile, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return findProfile(func(p Profile) bool {
		return slices.ContainsFunc(p.Hosts, func(pattern string) bool {
			matches, err := path.Match(pattern, host) // no slashes in host names, so * stops at nothing
			return err == nil && matches
		})
	})
}
