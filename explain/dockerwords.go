package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// secretName matches the names of variables that usually hold secrets. It is better to hide a MONKEY than to show an SSHKEY.
var secretName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|API_?KEY|(KEY|PASS|AUTH|CRED|PAT)S?\d*([_.-]|$)|[_-]PWD$`)
})

// isSecret reports whether the values belong to a variable with a name like that of a secret.
func (d Difference) isSecret() bool {
	name, ok := strings.CutPrefix(d.Field, "env.")
	return ok && secretName().MatchString(name)
}

// inWords describes differences in the words of a Dockerfile.
func inWords(diff []Difference, lead string) string {
	var all []string
	for _, d := range diff {
		all = append(all, d.String())
	}
	if len(all) == 0 {
		return ""
	}
	return lead + strings.Join(all, "; ")
}

var (
	argument   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^args\[\d+\]$`) })
	actionName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^actions\[\d+\]\.?`) })
	// actionOwner matches the owner of what an action makes.
	actionOwner = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^actions\[(\d+)\]\.owner$`) })
	extraHost   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^extraHosts\[\d+\]\.Host$`) })
)

// dockerWords maps fields of actions and commands to their names in a Dockerfile or on the command line.
var dockerWords = map[string]string{
	"user": "USER", "cwd": "WORKDIR", "owner": "--chown", "mode": "--chmod", "modeStr": "--chmod", "dest": "destination", "src": "source",
	"timestamp": "SOURCE_DATE_EPOCH", "": "action", "attemptUnpackDockerCompatibility": "--unpack",
}

// fieldWords returns the name of a field in a Dockerfile or on the command line.
func (d Difference) fieldWords() string {
	name := actionName().ReplaceAllString(d.Field, "")
	switch {
	case d.word != "":
		return d.word
	case strings.HasPrefix(d.Field, "env."):
		return "ENV " + strings.TrimPrefix(d.Field, "env.")
	case strings.HasPrefix(d.Field, mountField):
		return "--mount"
	case argument().MatchString(d.Field):
		return "command"
	case extraHost().MatchString(d.Field):
		return "add-host"
	}
	if word, ok := dockerWords[name]; ok {
		return word
	}
	return name
}

// value returns a value as a Dockerfile spells it.
func (d Difference) value(text string) string {
	switch {
	case text == hidden:
		return text
	case strings.HasPrefix(d.Field, mountField):
		return mountWords(strings.TrimPrefix(d.Field, mountField), text)
	case strings.HasSuffix(d.Field, "].mode"):
		return octal(text)
	case strings.HasSuffix(d.Field, "].timestamp"):
		return date(text)
	case d.address != "":
		return text + ":" + d.address
	default:
		return text
	}
}

// octal returns a mode as chmod spells it. A copy that sets none has -1.
func octal(text string) string {
	mode, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return text
	case mode < 0:
		return "none"
	default:
		return fmt.Sprintf("%04o", mode)
	}
}

// date formats a time given in nanoseconds. A file that is given none has -1.
func date(text string) string {
	nanoseconds, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return text
	case nanoseconds < 0:
		return "none"
	default:
		return time.Unix(0, nanoseconds).UTC().Format(time.RFC3339)
	}
}

// mountField begins the names of fields with mounts; the mount's destination follows.
const mountField = "mount "

// mountWords returns a mount as --mount spells it.
func mountWords(target, text string) string {
	kind, rest, _ := strings.Cut(text, ",")
	parts := []string{kind, "target=" + target}
	readonly := false
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "readonly":
			readonly = true
		case "selector":
			parts = append(parts, "source="+value)
		case "cacheOpt.ID":
			if value != "/"+target { // which is the default
				parts = append(parts, "id="+value)
			}
		case "secretOpt.ID", "SSHOpt.ID":
			parts = append(parts, "id="+value)
		case "secretOpt.mode", "SSHOpt.mode":
			mode, _ := strconv.ParseInt(value, 10, 64)
			parts = append(parts, "mode="+octal(strconv.FormatInt(mode, 10)))
		case "secretOpt.uid", "secretOpt.gid", "SSHOpt.uid", "SSHOpt.gid", "TmpfsOpt.size":
			_, name, _ = strings.Cut(name, ".")
			parts = append(parts, name+"="+value)
		case "", "input", "output", "secretOpt.optional", "SSHOpt.optional":
		default:
			parts = append(parts, part)
		}
	}
	switch {
	case kind == "type=bind" && !readonly:
		parts = append(parts, "rw")
	case kind != "type=bind" && readonly:
		parts = append(parts, "ro")
	}
	return strings.Join(parts, ",")
}

// String says what is different, such as ENV MODE fast -> slow. Long values are cut to the part that differs.
func (d Difference) String() string {
	field := d.fieldWords()
	if old, now, ok := d.images(); ok {
		return fmt.Sprintf("%s -> %s", old, now)
	}
	switch {
	case d.Old == nil && d.New == nil:
		return field
	case d.Old == nil:
		return strings.TrimSpace(fmt.Sprintf("%s is new: %s", field, shortened(d.value(*d.New))))
	case d.New == nil:
		return strings.TrimSpace(fmt.Sprintf("%s is gone: %s", field, shortened(d.value(*d.Old))))
	}
	before, now := differing(d.value(*d.Old), d.value(*d.New))
	return strings.TrimSpace(fmt.Sprintf("%s %s -> %s", field, before, now))
}

// images returns two images, or only the digests that pin them if nothing else differs.
func (d Difference) images() (old, now string, ok bool) {
	if d.Field == resolvedField && d.Old != nil && d.New != nil {
		return "digest " + shortDigest(*d.Old), shortDigest(*d.New), true
	}
	if d.Field != "identifier" || d.Old == nil || d.New == nil || *d.Old == hidden {
		return "", "", false
	}
	name, old, hadOld := cutPin(*d.Old)
	other, now, hasNew := cutPin(*d.New)
	if hadOld && hasNew && name == other {
		return "digest " + shortDigest(old), shortDigest(now), true
	}
	return image(name, old), image(other, now), true
}

// isRenamed reports whether two sources differ in their names, not only in their digests.
func (d Difference) isRenamed() bool {
	if d.Field != "identifier" || d.Old == nil || d.New == nil {
		return false
	}
	old, _, _ := cutPin(*d.Old)
	now, _, _ := cutPin(*d.New)
	return old != now
}

// image returns the name of an image with a shortened digest.
func image(name, pin string) string {
	name = strings.TrimPrefix(name, "docker-image://")
	if pin != "" {
		name += "@" + shortDigest(pin)
	}
	return name
}

// shortDigest returns enough of a digest or commit to distinguish it from others.
func shortDigest(text string) string {
	text = strings.TrimPrefix(text, "sha256:")
	return text[:min(len(text), 12)]
}

// Lengths of values that are shown, in characters.
const (
	maxShown = 120
	around   = 20 // characters on each side of the part that differs
)

func shortened(text string) string {
	r := []rune(text)
	if len(r) <= maxShown {
		return quoted(text)
	}
	return quoted(string(r[:maxShown])) + hidden
}

// quoted keeps text on one line, and shows where it begins and ends if that is not visible.
func quoted(text string) string {
	if text == "" || strings.TrimSpace(text) != text || strings.ContainsAny(text, "\n\r\t") {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// differing returns two values, without their common beginning and end if they are long.
func differing(a, b string) (string, string) {
	x, y := []rune(a), []rune(b)
	if len(x) <= maxShown && len(y) <= maxShown {
		return quoted(a), quoted(b)
	}
	same := 0
	for same < len(x) && same < len(y) && x[same] == y[same] {
		same++
	}
	end := 0
	for end < len(x)-same && end < len(y)-same && x[len(x)-1-end] == y[len(y)-1-end] {
		end++
	}
	return window(x, same, end), window(y, same, end)
}

// window returns the part of a text between the common beginning and end, with some context.
func window(r []rune, same, end int) string {
	from, to := max(0, same-around), min(len(r), len(r)-end+around)
	text := quoted(string(r[from:min(to, from+2*maxShown)]))
	if from > 0 {
		text = hidden + text
	}
	if to < len(r) || to > from+2*maxShown {
		text += hidden
	}
	return text
}
