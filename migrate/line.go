package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// line is what is remembered of a Record about a cache. There is one for each cache, so it is small: texts that many lines share are
// numbers, a target is its place and its tag, and digests are bytes. What an attempt took is in known.spent.
type line struct {
	source, as, place, event, form, cause word

	tag, targetTag string // these share memory if they are the same
	saved          int64
	from           [sha256.Size]byte
	fromIs, toIs   digestIs
	more           *more // nil for most lines
}

// more is what few lines have.
type more struct {
	from, to digest.Digest // those that line has no room for
	freed    []buildcache.Freed
	err      string
}

// digestIs says where a digest is.
type digestIs uint8

const (
	nowhere digestIs = iota // there is none
	inLine                  // in line.from
	inMore
)

// word is the number of a text that many lines have.
type word uint32

// word returns the number of a text.
func (s *State) word(text string) word {
	n, ok := s.numbers[text]
	if !ok {
		text = strings.Clone(text)
		n = word(len(s.words)) //nolint:gosec // there are fewer than lines
		s.words, s.numbers[text] = append(s.words, text), n
	}
	return n
}

// newLine returns what is remembered of a record.
func (s *State) newLine(r Record) line {
	cut := strings.LastIndexByte(r.Target, ':') + 1 // an empty place if there is no colon
	l := line{
		source: s.word(r.Source), as: s.word(r.As), place: s.word(r.Target[:cut]),
		event: s.word(string(r.Event)), form: s.word(string(r.Form)), cause: s.word(string(r.Cause)),
		tag: r.Tag, targetTag: r.Tag, saved: r.Saved,
	}
	if rest := r.Target[cut:]; rest != r.Tag {
		l.targetTag = strings.Clone(rest)
	}
	var m more
	if l.fromIs = whereIs(r.From); l.fromIs == inLine {
		_, _ = hex.Decode(l.from[:], []byte(r.From.Encoded())) // it is valid
	} else {
		m.from = r.From
	}
	switch r.To {
	case "":
	case r.From:
		l.toIs = l.fromIs
	default:
		l.toIs, m.to = inMore, r.To
	}
	if m.freed, m.err = r.Freed, r.Error; l.fromIs == inMore || l.toIs == inMore || len(m.freed) > 0 || m.err != "" {
		if l.more = &m; r.To == r.From {
			m.to = m.from
		}
	}
	return l
}

// whereIs says where a digest can be kept: most fit in the line as bytes.
func whereIs(d digest.Digest) digestIs {
	switch {
	case d == "":
		return nowhere
	case d.Validate() == nil && d.Algorithm() == digest.SHA256:
		return inLine
	}
	return inMore
}

// target returns the name of the target, with its tag.
func (s *State) target(l *line) string { return s.words[l.place] + l.targetTag }

// record returns the record of a line that was written at a given time.
func (s *State) record(l *line, at moment) Record {
	r := Record{
		Time: at.time(), Event: Event(s.words[l.event]), Source: s.words[l.source], Tag: l.tag, Target: s.target(l), As: s.words[l.as],
		Form: buildcache.Form(s.words[l.form]), Cause: Cause(s.words[l.cause]), Saved: l.saved,
	}
	if l.more != nil {
		r.From, r.To, r.Freed, r.Error = l.more.from, l.more.to, l.more.freed, l.more.err
	}
	if l.fromIs == inLine {
		r.From = digest.NewDigestFromBytes(digest.SHA256, l.from[:])
	}
	if l.toIs == inLine {
		r.To = r.From
	}
	return r
}

// isOf reports whether a line is about a job.
func (s *State) isOf(l *line, j job) bool {
	return l.tag == j.tag && s.words[l.source] == j.source && s.words[l.as] == j.as && s.isAt(l, j.target)
}

// isAt reports whether a line is about something at a target.
func (s *State) isAt(l *line, target string) bool {
	place, tag := s.words[l.place], l.targetTag
	return len(target) == len(place)+len(tag) && target[:len(place)] == place && target[len(place):] == tag
}

// moment says when a line was written. Lines of the same second have the order of their file.
type moment struct {
	micros       int64 // since the zero time
	reader, line int32
}

func momentOf(at time.Time, reader, line int) moment {
	return moment{at.UnixMicro() - time.Time{}.UnixMicro(), int32(reader), int32(line)} //nolint:gosec // nobody has as many lines
}

func (m moment) time() time.Time { return time.UnixMicro(m.micros + time.Time{}.UnixMicro()).UTC() }
