//go:build e2e && linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
)

// TestKubernetes runs the Job on a cluster, one test after the other.
func TestKubernetes(t *testing.T) {
	before := traces(t)
	t.Cleanup(func() { before.check(t) }) // once the cluster has ended
	b := newBed(t)
	t.Run("WrongPlan", func(t *testing.T) { testWrongPlan(t, b) })
	t.Run("Killed", func(t *testing.T) { testKilled(t, b) })
	t.Run("Twice", func(t *testing.T) { testTwice(t, b) })
}

// testWrongPlan says that a plan that makes no sense fails every index at once, and for good.
func testWrongPlan(t *testing.T, b *bed) {
	b.apply(t, strings.Replace(b.plan("wrong", 20), "defaults:", "default:", 1))
	defer b.remove(t)
	eventually(t, 2*time.Minute, "the Job has failed", func() error {
		if status := b.job(t); !is(status, batchv1.JobFailed) {
			return fmt.Errorf("%d active, %d failed", status.Active, status.Failed)
		}
		return nil
	})
	status := b.job(t)
	if status.FailedIndexes == nil || *status.FailedIndexes != "0-3" || status.Failed != 4 || status.Succeeded != 0 {
		t.Errorf("%+v", status)
	}
	for _, p := range b.pods(t, -1) {
		if p.exitStatus() != 2 {
			t.Errorf("index %d ended with %d, want 2", p.index, p.exitStatus())
		}
		if logs := b.logs(t, p); !strings.Contains(logs, "default") || len(b.state(t, p)) > 0 {
			t.Errorf("index %d says %s", p.index, logs)
		}
	}
}

// testKilled kills one shard's process, and deletes the pod of another: both come again, and everything is brought over.
func testKilled(t *testing.T, b *bed) {
	const directory = "killed"
	pods := b.startShards(t, b.plan(directory, 10), "done")
	defer b.remove(t)
	var killed, deleted pod
	for _, p := range pods {
		checkPrivileges(t, p)
		switch p.index {
		case 1:
			killed = p
		case 2:
			deleted = p
		}
	}
	if err := syscall.Kill(process(t, killed), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.kubectl(t, "delete", "pod", deleted.Name)
	b.complete(t, 4*time.Minute)

	after := b.pods(t, -1)
	b.checkStates(t, directory, after)
	b.checkTarget(t, directory)
	b.checkReport(t)
	seen := map[int][]pod{}
	for _, p := range after {
		seen[p.index] = append(seen[p.index], p)
	}
	if of := seen[1]; len(of) != 2 || of[0].UID != killed.UID || of[0].exitStatus() != 128+int(syscall.SIGKILL) || of[1].exitStatus() != 0 {
		t.Errorf("of the index that was killed there are %d pods", len(of))
	}
	if of := seen[2]; len(of) != 1 || of[0].UID == deleted.UID || of[0].exitStatus() != 0 {
		t.Errorf("of the index that was deleted there are %d pods", len(of))
	}
	if len(seen[0]) != 1 || len(seen[3]) != 1 {
		t.Errorf("the others have %d and %d pods", len(seen[0]), len(seen[3]))
	}
}

// testTwice has the kubelet of a node fall silent, while what it started goes on. The node is given up, and its shards run twice at once; and then it comes
// back. Nothing may be lost by it, or wrong.
func testTwice(t *testing.T, b *bed) {
	const directory, silent = "twice", "node-b"
	pods := b.startShards(t, b.plan(directory, 4), "begun")
	defer b.remove(t)
	pods = slices.DeleteFunc(pods, func(p pod) bool { return p.Spec.NodeName != silent })
	if len(pods) == 0 {
		t.Fatalf("no shard is on %s", silent)
	}
	b.tell(t, "stop-kubelet", silent)
	stopped := time.Now()
	defer b.kubectl(t, "taint", "nodes", silent, outOfService+"-")
	again := b.replaced(t, silent, pods)
	time.Sleep(time.Until(stopped.Add(40 * time.Second)))

	var processes []int
	for i, p := range pods {
		pid := process(t, p)
		if pid == 0 {
			t.Fatalf("index %d does not run on %s any more", p.index, silent)
		}
		processes = append(processes, pid)
		lines, second := b.state(t, p), b.state(t, again[i])
		if last := lines[len(lines)-1]; last.printed.Before(second[0].printed) {
			t.Errorf("index %d said its last word on %s before it began on %s", p.index, silent, again[i].Spec.NodeName)
		}
		t.Logf("index %d has %d caches on %s, and %d on %s", p.index, len(b.finished(t, p)), silent, len(b.finished(t, again[i])), again[i].Spec.NodeName)
	}
	b.checkTruth(t, directory, append(pods, again...))

	b.tell(t, "start-kubelet", silent)
	b.complete(t, 5*time.Minute)
	b.checkStates(t, directory, b.pods(t, -1))
	b.checkTarget(t, directory)
	b.checkReport(t)
	eventually(t, time.Minute, "the pods that were given up have ended", func() error {
		for _, pid := range processes {
			if err := syscall.Kill(pid, 0); err == nil {
				return fmt.Errorf("process %d runs", pid)
			}
		}
		return nil
	})
}

// outOfService is how an administrator says that a node is lost. Before that, Kubernetes does not begin anew with what ran there: it might still run, and the
// rules of the Job for pods that fail have it wait until a pod has certainly ended.
const outOfService = "node.kubernetes.io/out-of-service"

// replaced waits until each of the pods on a node, which is silent, runs on another one, too.
func (b *bed) replaced(t *testing.T, node string, pods []pod) []pod {
	t.Helper()
	given := func(p pod) bool { return p.DeletionTimestamp != nil }
	eventually(t, 3*time.Minute, "the pods of "+node+" are given up", func() error {
		for _, p := range b.pods(t, -1) {
			if p.Spec.NodeName == node && !given(p) {
				return fmt.Errorf("%s is not", p.Name)
			}
		}
		return nil
	})
	b.kubectl(t, "taint", "nodes", node, outOfService+"=nodeshutdown:NoExecute")
	again := make([]pod, len(pods))
	eventually(t, 3*time.Minute, "they run on another node", func() error {
		for i, p := range pods {
			all := b.pods(t, p.index)
			if len(all) == 0 || all[len(all)-1].UID == p.UID || len(b.finished(t, all[len(all)-1])) == 0 {
				return fmt.Errorf("index %d does not", p.index)
			}
			again[i] = all[len(all)-1]
		}
		return nil
	})
	return again
}
