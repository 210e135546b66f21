package registry_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/registry"
)

// TestFailureOf says whose fault an error is, and whether waiting may help.
func TestFailureOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fault registrytest.Fault
		want  registry.Failure
	}{
		{"busy", registrytest.Fault{Path: "tags/list", Times: -1, Status: http.StatusTooManyRequests}, registry.Failure{Busy: true}},
		{"broken", registrytest.Fault{Path: "tags/list", Times: -1, Status: http.StatusBadGateway}, registry.Failure{Down: true, Answered: true}},
		{"out of service", registrytest.Fault{Path: "tags/list", Times: -1, Status: http.StatusServiceUnavailable}, registry.Failure{Down: true}},
		{"away for long", registrytest.Fault{Path: "tags/list", Times: -1, Status: http.StatusServiceUnavailable, RetryAfter: "7200"}, registry.Failure{Down: true, RetryAfter: 2 * time.Hour}},
		{"gone", registrytest.Fault{Path: "tags/list", Times: -1, Drop: true}, registry.Failure{Down: true}},
		{"silent", registrytest.Fault{Path: "tags/list", Times: -1, Hang: true}, registry.Failure{Down: true}},
		{"no entry", registrytest.Fault{Path: "tags/list", Times: -1, Status: http.StatusForbidden}, registry.Failure{}},
		{"not implemented", registrytest.Fault{Path: "tags/list", Times: -1, Status: http.StatusNotImplemented}, registry.Failure{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			server.Inject(test.fault)
			insecure := false
			o := registry.Options{TLSVerify: &insecure, Retries: 1, Delay: time.Millisecond}
			if test.fault.Hang {
				o.Idle = silence()
			}
			place, err := registry.Open(server.Host+"/team/cache", o)
			if err != nil {
				t.Fatal(err)
			}
			defer place.Close()
			_, err = place.Tags(t.Context())
			got, ok := registry.FailureOf(err)
			test.want.Host = server.Host
			if !ok || got != test.want {
				t.Errorf("got %+v, %t of %v, want %+v", got, ok, err, test.want)
			}
		})
	}
	if got, ok := registry.FailureOf(errors.New("of the disk")); ok {
		t.Errorf("an error of ours is %+v", got)
	}
}

// TestFailureOfDead says that nobody at an address is a registry that is down.
func TestFailureOfDead(t *testing.T) {
	t.Parallel()
	insecure := false
	place, err := registry.Open("127.0.0.1:1/team/cache", registry.Options{TLSVerify: &insecure, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	_, err = place.Entries(t.Context())
	if got, ok := registry.FailureOf(err); !ok || !got.Down || got.Host != "127.0.0.1:1" {
		t.Errorf("got %+v, %t of %v", got, ok, err)
	}
}
