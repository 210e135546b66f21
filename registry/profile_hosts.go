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

// ProfileForHost returns the profile of a registry that is known by its host name, with or without a port. Most hosts are not
// known, because a registry does not say what it is.
func ProfileForHost(host string) (Profile, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return findProfile(func(p Profile) bool {
		return slices.ContainsFunc(p.Hosts, func(pattern string) bool {
			matches, err := path.Match(pattern, host) // host names have no slashes, so * matches anything
			return err == nil && matches
		})
	})
}
