package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/internal/registrytest"
)

var update = flag.Bool("update", false, "put what the program prints into the scripts that compare it")

// scriptCommands are what the scripts in testdata/script can do beyond testscript's own commands:
//
//	cache NAME DIR            copy a cache of testdata/caches
//	builds PREFIX...          unpack parts of the builds of testdata/explain
//	runs PROGRAM...           run a program that must end with status 0; one in the background, or with "!", takes exec
//	exits STATUS PROGRAM...   run a program that must end with this status
//	fails STATUS PROGRAM...   the same for one that says what went wrong, once, and gives no result
//	damage DIR WHICH HOW      spoil one blob of the first cache and set $DAMAGED to its digest; WHICH: root, config or
//	                          layer (the largest); HOW: alter, truncate, remove, close (to readers), or mislabel (a wrong diffID)
//	annotate DIR N KEY VALUE  give the entry N of index.json an annotation, or with '' take it away
//	digest VAR DIR TAG        set VAR to the digest of a root
//	diffids VAR DIR TAG       set VAR to the diffIDs of the layers of a cache
//	tree DIR                  list every file with mode and digest on standard output
//	links N DIR               every layer blob has N names
//	[!] equal A B             compare two words
//	cmpjson FILE WANT         FILE is one JSON value, and has what WANT has; "*" stands for any string
//	lock FILE, unlock         hold a lock as another process would
//
// They share no code with what is tested.
var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"cache":    command(2, cmdCache),
	"builds":   command(-1, cmdBuilds),
	"runs":     command(-1, cmdRuns),
	"exits":    command(-2, cmdExits),
	"fails":    command(-2, cmdFails),
	"damage":   command(3, cmdDamage),
	"annotate": command(4, cmdAnnotate),
	"digest":   command(3, cmdDigest),
	"diffids":  command(3, cmdDiffIDs),
	"tree":     command(1, cmdTree),
	"links":    command(2, cmdLinks),
	"equal":    cmdEqual,
	"cmpjson":  command(2, cmdCmpJSON),
	"lock":     command(1, cmdLock),
	"unlock":   command(0, cmdUnlock),
}

// noSleep spares every process of a test with the race detector the second that it waits at its end for other
// goroutines' reports.
const noSleep = "atexit_sleep_ms=0"

func TestScripts(t *testing.T) {
	t.Parallel()
	strict := registrytest.New(t, registrytest.Options{})
	lists := registrytest.New(t, registrytest.Options{TakesLists: true})
	locked := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret"})
	secure := registrytest.New(t, registrytest.Options{TLS: true})
	keeps := registrytest.New(t, registrytest.Options{Deletes: registrytest.DeletesNothing})
	runners := new(errandRunners)
	t.Cleanup(func() { // when all scripts, which are parallel, have ended
		if err := runners.close(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		Cmds:                scriptCommands,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", noSleep)
			env.Setenv(checksPasted, "1")
			// Registries for all scripts: distribution 3 as it comes, which takes no lists; one that takes them; one that
			// wants a password; one with HTTPS; one that deletes nothing. Each script uses repositories of its own.
			env.Setenv("STRICT", "docker://"+strict.Host)
			env.Setenv("LISTS", "docker://"+lists.Host)
			env.Setenv("LOCKED", "docker://"+locked.Host)
			env.Setenv("SECURE_HOST", secure.Host)
			env.Setenv("LOCKED_AUTH", filepath.Join(env.WorkDir, "locked-auth.json"))
			auth := fmt.Sprintf(`{"auths":{%q:{"auth":"YW5uOnNlY3JldA=="}}}`, locked.Host)
			if err := os.WriteFile(env.Getenv("LOCKED_AUTH"), []byte(auth), 0o600); err != nil {
				return err
			}
			env.Setenv("KEEPS", "docker://"+keeps.Host)
			env.Setenv("SECURE_CERTS", secure.CertDir)
			env.Values[lockKey{}] = new(*os.File)
			env.Values[errandKey{}] = scriptErrands{env.Vars, runners}
			return nil
		},
	})
}

// command makes a command of a function that returns an error. Less than 0 arguments are that many or more.
func command(args int, run func(*testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, got []string) {
		if neg || args >= 0 && len(got) != args || args < 0 && len(got) < -args {
			ts.Fatalf("wrong arguments")
		}
		ts.Check(run(ts, got))
	}
}

func cmdRuns(ts *testscript.TestScript, args []string) error {
	_, err := exits(ts, "0", args)
	return err
}

func cmdExits(ts *testscript.TestScript, args []string) error {
	_, err := exits(ts, args[0], args[1:])
	return err
}

// exits runs a program that has to end with a status.
func exits(ts *testscript.TestScript, status string, args []string) (outcome, error) {
	want, err := strconv.Atoi(status)
	if err != nil {
		return outcome{}, err
	}
	got, err := runProgram(ts, args)
	if err == nil && got.Status != want {
		err = fmt.Errorf("exit status %d, want %d", got.Status, want)
	}
	return got, err
}

func cmdFails(ts *testscript.TestScript, args []string) error {
	got, err := exits(ts, args[0], args[1:])
	if err != nil {
		return err
	}
	if got.Stdout != "" {
		return errors.New("a failure wrote a result")
	}
	errorLines := 0
	for line := range strings.Lines(got.Stderr) {
		if strings.HasPrefix(line, "ocicache: error: ") {
			errorLines++
		}
	}
	if errorLines != 1 {
		return fmt.Errorf("%d lines say an error, want 1", errorLines)
	}
	return nil
}

func cmdEqual(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || args[0] == "" || args[1] == "" {
		ts.Fatalf("two words, please: %q", args)
	}
	if (args[0] == args[1]) == neg {
		ts.Fatalf("equal is %v:\n%s\n%s", !neg, args[0], args[1])
	}
}

func cmdCmpJSON(ts *testscript.TestScript, args []string) error {
	var got, want any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &got); err != nil {
		return fmt.Errorf("%s is not one JSON value: %w", args[0], err)
	}
	wantText := os.Expand(ts.ReadFile(args[1]), ts.Getenv)
	if err := json.Unmarshal([]byte(wantText), &want); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	if where := differs(got, want, ""); where != "" {
		return fmt.Errorf("%s differs at %s", args[0], where)
	}
	return nil
}

// differs returns the first place where got lacks something of want, or "".
func differs(got, want any, at string) string {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: %v is no object", at, got)
		}
		for name, value := range want {
			member, ok := have[name]
			if !ok {
				return fmt.Sprintf("%s.%s: it is not there", at, name)
			}
			if where := differs(member, value, at+"."+name); where != "" {
				return where
			}
		}
		return ""
	case []any:
		have, ok := got.([]any)
		if !ok || len(have) != len(want) {
			return fmt.Sprintf("%s: %v is no list of %d", at, got, len(want))
		}
		for i, value := range want {
			if where := differs(have[i], value, fmt.Sprintf("%s[%d]", at, i)); where != "" {
				return where
			}
		}
		return ""
	case string:
		if text, ok := got.(string); ok && (want == "*" || want == text) {
			return ""
		}
	default:
		if got == want {
			return ""
		}
	}
	return fmt.Sprintf("%s: got %v, want %v", at, got, want)
}

// lockKey finds the file that a script holds a lock of.
type lockKey struct{}

func cmdLock(ts *testscript.TestScript, args []string) error {
	file, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	held, _ := ts.Value(lockKey{}).(**os.File)
	*held = file
	ts.Defer(func() { _ = file.Close() }) // twice is no harm
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func cmdUnlock(ts *testscript.TestScript, _ []string) error {
	held, _ := ts.Value(lockKey{}).(**os.File)
	return (*held).Close()
}

// sortedWords joins words in their order, for comparing.
func sortedWords(words []string) string {
	slices.Sort(words)
	return strings.Join(words, ",")
}
