package registrytest

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fault is something that goes wrong with requests. Method, Path, Skip and Times choose the requests; the other
// members say what happens to them, one or several at once.
type Fault struct {
	Method string // "" for any
	Path   string // a regular expression for the URL's path, "" for any
	Skip   int    // how many of these requests pass first
	Times  int    // how many of them it then happens to; 0 means one, less than 0 all

	// Before runs before the request is handled any further, for example to move a tag meanwhile.
	Before func()
	// Delay is how long the request is held back.
	Delay time.Duration

	// Status is answered at once, with RetryAfter as the header Retry-After unless it is "", and with Code, or one that fits
	// the status, in the body.
	Status     int
	RetryAfter string
	Code       string
	// Endless makes the body of such an answer go on until the client goes away.
	Endless bool
	// CutAt breaks the connection after this fraction of the body: of the request for PATCH, PUT and POST, else of the
	// answer. With 1 the registry has received, or sent, all of the body; only what follows is lost.
	CutAt float64
	// Drop breaks the connection before an answer. Go's HTTP client silently tries again if the connection was an old
	// one and the request has no body.
	Drop bool
	// Hang gives no answer until the client goes away or the test ends.
	Hang bool
	// LoseUpload answers that the upload session is unknown, now and whenever it is named again.
	LoseUpload bool
	// Flip flips one bit in the middle of the answer's body.
	Flip bool
	// Length is added to the answer's Content-Length.
	Length int64
	// NoLength leaves out the answer's Content-Length.
	NoLength bool
}

// Injected is a fault at work.
type Injected struct {
	fault   Fault
	path    *regexp.Regexp
	matched int
	fired   int
	all     *faults
}

// Fired returns how often the fault happened.
func (i *Injected) Fired() int {
	i.all.mu.Lock()
	defer i.all.mu.Unlock()
	return i.fired
}

// faults are those of one server. If several match a request, the first one happens.
type faults struct {
	mu       sync.Mutex
	injected []*Injected
	lost     map[string]bool // paths of upload sessions
	done     chan struct{}   // closed when the test ends
}

// Inject makes something go wrong from now on.
func (s *Server) Inject(f Fault) *Injected {
	if f.Times == 0 {
		f.Times = 1
	}
	i := &Injected{fault: f, path: regexp.MustCompile(f.Path), all: &s.faults}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.injected = append(s.faults.injected, i)
	return i
}

// Heal ends all faults, and forgets which have happened.
func (s *Server) Heal() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.injected = nil
}

// AssertFired fails the test for each fault that did not happen as often as it should: a test of a fault that never
// happened tests nothing. One without a limit must have happened at least once.
func (s *Server) AssertFired(t testing.TB) {
	t.Helper()
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	for _, i := range s.faults.injected {
		if want := max(i.fault.Times, 1); i.fired < want {
			t.Errorf("a fault happened %d times of %d: %+v", i.fired, want, i.fault)
		}
	}
}

// next returns the fault that happens to a request, or nil.
func (f *faults) next(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost[r.URL.Path] {
		return &Fault{LoseUpload: true}
	}
	for _, i := range f.injected {
		if i.fault.Method != "" && i.fault.Method != r.Method || !i.path.MatchString(r.URL.Path) {
			continue
		}
		i.matched++
		if i.matched <= i.fault.Skip || i.fault.Times > 0 && i.fired == i.fault.Times {
			continue
		}
		i.fired++
		if i.fault.LoseUpload {
			if f.lost == nil {
				f.lost = map[string]bool{}
			}
			f.lost[r.URL.Path] = true
		}
		return &i.fault
	}
	return nil
}

func (f *faults) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := f.next(r)
		if fault == nil {
			next.ServeHTTP(w, r)
			return
		}
		if fault.Before != nil {
			fault.Before()
		}
		f.wait(r, fault)
		fault.happen(w, r, next)
	})
}

// wait holds a request back.
func (f *faults) wait(r *http.Request, fault *Fault) {
	var passed <-chan time.Time
	switch {
	case fault.Hang:
	case fault.Delay > 0:
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		passed = timer.C
	default:
		return
	}
	select {
	case <-passed:
	case <-r.Context().Done():
	case <-f.done:
	}
}

func (f *Fault) happen(w http.ResponseWriter, r *http.Request, next http.Handler) {
	sends := r.Method == http.MethodPatch || r.Method == http.MethodPut || r.Method == http.MethodPost
	switch {
	case f.Drop, f.Hang:
		panic(http.ErrAbortHandler)
	case f.LoseUpload:
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", nil)
	case f.Endless:
		f.goOn(w)
	case f.Status != 0:
		f.answer(w)
	case f.CutAt > 0 && sends:
		f.cut(r)
		next.ServeHTTP(&noWriter{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	default:
		broken := &brokenWriter{ResponseWriter: w, fault: f, left: -1, flip: -1, room: -1}
		next.ServeHTTP(broken, r)
		if broken.left == 0 {
			_ = http.NewResponseController(w).Flush() // what was written must arrive, if anybody is there
			panic(http.ErrAbortHandler)
		}
	}
}

// goOn answers without end.
func (f *Fault) goOn(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	some := bytes.Repeat([]byte(`{"errors": [{"code": "UNKNOWN"}]} `), 1<<11)
	for {
		if _, err := w.Write(some); err != nil {
			return
		}
	}
}

// cut lets only the beginning of a request's body through.
func (f *Fault) cut(r *http.Request) {
	if f.CutAt >= 1 {
		return
	}
	size := r.ContentLength
	if size < 0 { // it has to be known to be divided
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		size, r.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
	}
	r.Body = &cutReader{ReadCloser: r.Body, left: int64(f.CutAt * float64(size))}
}

// answer gives the status as the specification says.
func (f *Fault) answer(w http.ResponseWriter) {
	code, known := f.Code, map[int]string{
		http.StatusTooManyRequests: "TOOMANYREQUESTS", http.StatusServiceUnavailable: "UNAVAILABLE",
		http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "DENIED", http.StatusMethodNotAllowed: "UNSUPPORTED",
	}
	if code == "" {
		code = known[f.Status]
	}
	if code == "" {
		code = "UNKNOWN"
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	refuse(w, f.Status, code, "injected fault", nil)
}

// cutReader is a body of which only the beginning arrives.
type cutReader struct {
	io.ReadCloser
	left int64
}

func (c *cutReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// noWriter swallows an answer.
type noWriter struct{ header http.Header }

func (w *noWriter) Header() http.Header         { return w.header }
func (w *noWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *noWriter) WriteHeader(int)             {}

// brokenWriter damages an answer.
type brokenWriter struct {
	http.ResponseWriter
	fault   *Fault
	started bool
	left    int64 // bytes until the connection breaks, -1 for never
	flip    int64 // bytes until the one that is damaged, -1 for none
	room    int64 // bytes until the end that was promised, -1 for the true one
}

func (w *brokenWriter) WriteHeader(status int) {
	if !w.started {
		w.started = true
		length, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
		if err != nil {
			length = 0
		}
		if w.fault.CutAt > 0 {
			w.left = int64(w.fault.CutAt * float64(length))
		}
		if w.fault.Flip {
			w.flip = length / 2
		}
		if w.fault.Length != 0 {
			w.room = max(length+w.fault.Length, 0)
			w.Header().Set("Content-Length", strconv.FormatInt(w.room, 10))
		}
		if w.fault.NoLength {
			w.Header().Del("Content-Length")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	if w.left == 0 {
		return 0, io.ErrClosedPipe
	}
	if w.left > 0 && int64(len(p)) > w.left {
		p = p[:w.left]
	}
	if w.flip >= 0 {
		if w.flip < int64(len(p)) {
			p = append([]byte(nil), p...)
			p[w.flip] ^= 1
		}
		w.flip -= int64(len(p)) // below zero it has happened
	}
	all := len(p)
	if w.room >= 0 {
		p = p[:min(int64(len(p)), w.room)]
		w.room -= int64(len(p))
	}
	n, err := w.ResponseWriter.Write(p)
	if err == nil && n == len(p) {
		n = all
	}
	if w.left > 0 {
		w.left -= int64(n)
	}
	if err == nil && w.left == 0 {
		err = io.ErrClosedPipe
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *brokenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
