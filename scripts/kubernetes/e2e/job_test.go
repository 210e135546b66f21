//go:build e2e && linux

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// jobName is the name that the manifests give the Job.
const jobName = "ocicache-migrate"

// overlay is what a user adds to the manifests: an image, a plan, credentials; and pods on the network of their hosts, as the registries of these tests
// are on the loopback interface.
const overlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%s]
configMapGenerator:
  - {name: ocicache-plan, behavior: replace, files: [plan.yaml]}
secretGenerator:
  - {name: ocicache-credentials, behavior: replace, type: kubernetes.io/dockerconfigjson, files: [.dockerconfigjson=credentials.json]}
images:
  - {name: registry.example.com/tools/ocicache, newName: localhost/ocicache, newTag: e2e}
patches:
  - target: {kind: Job}
    patch: |-
      - {op: add, path: /spec/template/spec/hostNetwork, value: true}
`

// plan moves all caches below a directory of the target, with so many requests a second of each shard to each registry.
func (b *bed) plan(directory string, rate int) string {
	sources := make([]string, len(b.caches))
	for i, repository := range b.caches {
		sources[i] = fmt.Sprintf("docker://%s/%s", b.source.host, repository)
	}
	return fmt.Sprintf(`version: 1
registries:
  %[1]q: {tls_verify: false, rate: %[3]d}
  %[2]q: {tls_verify: false, rate: %[3]d}
defaults: {to: artifact, compression: zstd}
migrations:
  - source: [%[5]s]
    target: docker://%[2]s/%[4]s/{repository}
`, b.source.host, b.target.host, rate, directory, strings.Join(sources, ", "))
}

// apply starts the Job with a plan, as a user does.
func (b *bed) apply(t *testing.T, plan string) {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Abs("..")
	if err == nil {
		base, err = filepath.Rel(dir, base)
	}
	if err != nil {
		t.Fatal(err)
	}
	auth := base64.StdEncoding.EncodeToString([]byte(b.target.login.user + ":" + b.target.login.password))
	write(t, filepath.Join(dir, "kustomization.yaml"), fmt.Sprintf(overlay, base))
	write(t, filepath.Join(dir, "plan.yaml"), plan)
	write(t, filepath.Join(dir, "credentials.json"), fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, b.target.host, auth))
	b.kubectl(t, "apply", "-k", dir)
}

// remove removes the Job and its pods, and keeps how they were.
func (b *bed) remove(t *testing.T) {
	t.Helper()
	dir := t.ArtifactDir()
	write(t, filepath.Join(dir, "job.yaml"), b.kubectl(t, "get", "job", jobName, "-o", "yaml"))
	write(t, filepath.Join(dir, "pods.yaml"), b.kubectl(t, "get", "pods", "-o", "yaml"))
	write(t, filepath.Join(dir, "events.txt"), b.kubectl(t, "get", "events", "--sort-by=.lastTimestamp"))
	for _, p := range b.pods(t, -1) {
		write(t, filepath.Join(dir, fmt.Sprintf("%d-%s.log", p.index, p.Name)), b.logs(t, p))
	}
	b.kubectl(t, "delete", "job", jobName, "--cascade=foreground", "--timeout=60s")
}

// job asks how the Job is.
func (b *bed) job(t *testing.T) batchv1.JobStatus {
	t.Helper()
	var job batchv1.Job
	parse(t, b.kubectl(t, "get", "job", jobName, "-o", "json"), &job)
	return job.Status
}

// is reports whether the Job has a condition.
func is(status batchv1.JobStatus, want batchv1.JobConditionType) bool {
	for _, c := range status.Conditions {
		if c.Type == want && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// pod is a pod of the Job.
type pod struct {
	corev1.Pod
	index int
}

// pods are those that there are for an index, or all for a negative one, the oldest first.
func (b *bed) pods(t *testing.T, index int) []pod {
	t.Helper()
	args := []string{"get", "pods", "-l", "job-name=" + jobName, "--sort-by=.metadata.creationTimestamp", "-o", "json"}
	if index >= 0 {
		args[3] += fmt.Sprintf(",batch.kubernetes.io/job-completion-index=%d", index)
	}
	var list corev1.PodList
	parse(t, b.kubectl(t, args...), &list)
	pods := make([]pod, len(list.Items))
	for i, item := range list.Items {
		index, err := strconv.Atoi(item.Annotations[batchv1.JobCompletionIndexAnnotation])
		if err != nil {
			t.Fatal(err)
		}
		pods[i] = pod{item, index}
	}
	return pods
}

// exitStatus is what a pod's container ended with, or -1.
func (p pod) exitStatus() int {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Terminated != nil {
			return int(c.State.Terminated.ExitCode)
		}
	}
	return -1
}

// startShards starts the Job with a plan, and waits until every index has said one of these.
func (b *bed) startShards(t *testing.T, plan string, events ...string) []pod {
	t.Helper()
	b.apply(t, plan)
	var pods []pod
	eventually(t, 3*time.Minute, "every shard works", func() error {
		pods = b.pods(t, -1)
		if len(pods) != 4 {
			return fmt.Errorf("%d pods", len(pods))
		}
		for _, p := range pods {
			if len(b.lines(t, p, events...)) == 0 {
				return fmt.Errorf("index %d: %s", p.index, p.Status.Phase)
			}
		}
		return nil
	})
	return pods
}

// complete waits until the Job has done what it is for.
func (b *bed) complete(t *testing.T, within time.Duration) {
	t.Helper()
	eventually(t, within, "the Job is complete", func() error {
		status := b.job(t)
		if is(status, batchv1.JobFailed) {
			t.Fatalf("the Job has failed: %+v", status)
		}
		if !is(status, batchv1.JobComplete) {
			return fmt.Errorf("%d active, %d succeeded, %d failed, done are %q", status.Active, status.Succeeded, status.Failed, status.CompletedIndexes)
		}
		return nil
	})
}

func parse(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// eventually tries until something is so.
func eventually(t *testing.T, within time.Duration, what string, try func() error) {
	t.Helper()
	started := time.Now()
	for {
		err := try()
		if err == nil {
			t.Logf("%s: after %.0f s", what, time.Since(started).Seconds())
			return
		}
		if time.Since(started) > within || t.Context().Err() != nil {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// logs are what a pod has printed, as the kubelet keeps it: what kubectl can't ask for while the kubelet is away.
func (b *bed) logs(t *testing.T, p pod) string {
	t.Helper()
	dir := fmt.Sprintf("%s_%s_%s", p.Namespace, p.Name, p.UID)
	raw, err := os.ReadFile(filepath.Join(b.dir, p.Spec.NodeName, "pods", dir, "migrate", "0.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}
