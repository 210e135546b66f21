package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sirupsen/logrus"

	"github.com/ocicache/ocicache/internal/quicktest"
)

// Scripts run the program two thousand times, and most of that is the start of a process. So a few processes run the program for
// them, again and again. With all samples (quicktest.Rounds) each run is a process of its own, as it is for users.

// errand is a run of the program.
type errand struct {
	Dir  string
	Env  map[string]string
	Args []string
}

// outcome is what became of it.
type outcome struct {
	Status         int
	Stdout, Stderr string
}

// errands is the process: it runs what comes from file 3, and answers to file 4.
func errands() {
	debug.SetGCPercent(400) // as quicktest has it
	in, out := gob.NewDecoder(os.NewFile(3, "errands")), gob.NewEncoder(os.NewFile(4, "outcomes"))
	for {
		var e errand
		if err := in.Decode(&e); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			panic(err)
		}
		if err := out.Encode(e.run()); err != nil {
			panic(err)
		}
	}
}

// run is the program in a directory and an environment, as it begins in a process of its own.
func (e errand) run() outcome {
	os.Clearenv()
	for name, value := range e.Env {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	if err := os.Chdir(e.Dir); err != nil {
		panic(err)
	}
	logrus.SetLevel(logrus.InfoLevel)
	var stdout, stderr bytes.Buffer
	status := runPasted(e.Args, &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// errandRunners are the processes that run errands, one for each script at a time.
type errandRunners struct {
	mu        sync.Mutex
	idle, all []*errandRunner
}

// take returns a process that has nothing to do.
func (r *errandRunners) take() (*errandRunner, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.idle) - 1; last >= 0 {
		runner := r.idle[last]
		r.idle = r.idle[:last]
		return runner, nil
	}
	runner := new(errandRunner)
	r.all = append(r.all, runner)
	return runner, runner.start()
}

// giveBack takes a process that has done its errand.
func (r *errandRunners) giveBack(runner *errandRunner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = append(r.idle, runner)
}

// run is an errand. A process that fails is not asked again.
func (r *errandRunners) run(e errand) (got outcome, err error) {
	runner, err := r.take()
	if err == nil {
		got, err = runner.run(e)
	}
	if err == nil {
		r.giveBack(runner)
	}
	return got, err
}

// close ends all processes.
func (r *errandRunners) close() (err error) {
	for _, runner := range r.all {
		err = errors.Join(err, runner.close())
	}
	return err
}

// errandRunner has a process that runs errands.
type errandRunner struct {
	process *exec.Cmd
	said    bytes.Buffer // of the process, past the program's streams
	last    errand
	in, out *os.File
	to      *gob.Encoder
	from    *gob.Decoder
}

// scriptErrands are how a script has errands run.
type scriptErrands struct {
	environment []string
	runners     *errandRunners
}

type errandKey struct{}

// runProgram runs a program for a script. Ours is an errand, unless it reads standard input: what a script put there is for processes alone.
func runProgram(ts *testscript.TestScript, args []string) (outcome, error) {
	if args[0] != "ocicache" || slices.ContainsFunc(args, namesStream) || quicktest.Rounds(0, 1) == 1 {
		return runProcess(ts, args)
	}
	errands, _ := ts.Value(errandKey{}).(scriptErrands)
	e := errand{Dir: ts.MkAbs("."), Env: map[string]string{}, Args: args[1:]}
	for _, name := range errands.names() {
		if value := ts.Getenv(name); value != "" {
			e.Env[name] = value
		}
	}
	e.Env["PWD"] = e.Dir
	got, err := errands.runners.run(e)
	fmt.Fprint(ts.Stdout(), got.Stdout)
	fmt.Fprint(ts.Stderr(), got.Stderr)
	return got, err
}

// namesStream reports whether an argument names a stream of the process.
func namesStream(arg string) bool {
	return arg == "-" || arg == "--password-stdin" || strings.Contains(arg, "/dev/")
}

// runProcess runs a program as a process of its own.
func runProcess(ts *testscript.TestScript, args []string) (outcome, error) {
	status := 0
	if err := ts.Exec(args[0], args[1:]...); err != nil {
		exit := new(exec.ExitError)
		if !errors.As(err, &exit) {
			return outcome{}, err
		}
		status = exit.ExitCode()
	}
	return outcome{status, ts.ReadFile("stdout"), ts.ReadFile("stderr")}, nil
}

// names are the variables that the program may look at.
func (s scriptErrands) names() []string {
	names := map[string]bool{"HOME": true, "TMPDIR": true, "PATH": true}
	for _, pair := range s.environment {
		name, _, _ := strings.Cut(pair, "=")
		names[name] = true
	}
	for _, v := range variables {
		names[v.name] = true
	}
	return slices.Collect(maps.Keys(names))
}

func (r *errandRunner) run(e errand) (got outcome, err error) {
	r.last = e
	if err = r.to.Encode(e); err == nil {
		err = r.from.Decode(&got)
	}
	if err != nil {
		return got, fmt.Errorf("run ocicache as an errand: %w: %s", err, r.said.String())
	}
	return got, nil
}

func (r *errandRunner) start() error {
	in, to, err := os.Pipe()
	if err != nil {
		return err
	}
	from, out, err := os.Pipe()
	if err != nil {
		return err
	}
	r.in, r.out, r.to, r.from = to, from, gob.NewEncoder(to), gob.NewDecoder(from)
	r.process = exec.Command("errands")
	r.process.Env, r.process.ExtraFiles = append(os.Environ(), "GORACE="+noSleep), []*os.File{in, out}
	r.process.Stdout, r.process.Stderr = &r.said, &r.said
	return errors.Join(r.process.Start(), in.Close(), out.Close())
}

// close ends the process. What it wrote past the program's streams would have been lost.
func (r *errandRunner) close() error {
	err := errors.Join(r.in.Close(), r.process.Wait(), r.out.Close())
	if r.said.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("written past the streams of the program, last run in %s: %s", r.last.Dir, r.said.String()))
	}
	return err
}
