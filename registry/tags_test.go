package registry

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// pager lists tags in pages of one.
type pager struct {
	pages int // 0 for no end
	asked atomic.Int32
}

func (p *pager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	n := int(p.asked.Add(1))
	if n != p.pages {
		w.Header().Set("Link", fmt.Sprintf(`</v2/cache/tags/list?last=t%d>; rel="next"`, n))
	}
	_, _ = fmt.Fprintf(w, `{"name":"cache","tags":["t%d"]}`, n) // a client that left needs no answer
}

// tagsOf lists the tags of a registry that answers as handler does, each time after a while.
func tagsOf(t *testing.T, handler http.Handler, after, idle time.Duration, pages int) ([]string, error) {
	t.Helper()
	server := registrytest.Serve(t, handler)
	server.Inject(registrytest.Fault{Path: "/tags/", Delay: after, Times: -1})
	verify := false
	r, err := Open(server.Host+"/cache", Options{TLSVerify: &verify, Idle: idle, Delay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r.listTags(t.Context(), pages)
}

// TestSlowTags lists tags in pages that take longer than the idle time together, and none of them alone.
func TestSlowTags(t *testing.T) {
	t.Parallel()
	slow := &pager{pages: 6}
	tags, err := tagsOf(t, slow, 200*time.Millisecond, time.Second, maxTagPages)
	if err != nil || len(tags) != 6 || slow.asked.Load() != 6 {
		t.Errorf("%q after %d pages, %v", tags, slow.asked.Load(), err)
	}
}

// TestEndlessTags lists tags that come to no end. That is what the error says, and nobody asks again.
func TestEndlessTags(t *testing.T) {
	t.Parallel()
	endless := &pager{}
	_, err := tagsOf(t, endless, 0, 2*time.Second, 50)
	if !errors.Is(err, ErrTooManyPages) || errors.Is(err, ErrIdle) {
		t.Errorf("got %v", err)
	}
	if asked := endless.asked.Load(); asked > 50 {
		t.Errorf("%d pages were asked for", asked)
	}
}
