package kubernetes

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/ocicache/ocicache/migrate"
)

// manifests are what kubectl apply -k would send.
type manifests struct {
	job    batchv1.Job
	plan   corev1.ConfigMap
	secret corev1.Secret
}

// build makes the manifests as kubectl does, and reads each strictly.
func build(t *testing.T) manifests {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), ".")
	if err != nil {
		t.Fatal(err)
	}
	all, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var m manifests
	seen := map[string]int{}
	for _, document := range bytes.Split(all, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		into := map[string]any{"batch/v1 Job": &m.job, "v1 ConfigMap": &m.plan, "v1 Secret": &m.secret}[kind.APIVersion+" "+kind.Kind]
		if into == nil {
			t.Fatalf("what is this?\n%s", document)
		}
		seen[kind.Kind]++
		if err := strictly(document, into); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
	}
	if len(seen) != 3 || seen["Job"] != 1 || seen["ConfigMap"] != 1 || seen["Secret"] != 1 {
		t.Fatalf("there are %v", seen)
	}
	return m
}

// strictly reads a document as the apiserver does when it is asked to be strict: each field by its exact name, and once.
func strictly(document []byte, into any) error {
	raw, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return err
	}
	wrong, err := kjson.UnmarshalStrict(raw, into)
	return errors.Join(append(wrong, err)...)
}

// TestStrict says that a misspelt field is found: what this test relies on.
func TestStrict(t *testing.T) {
	var job batchv1.Job
	for _, wrong := range []string{"spec: {backoffLimitPerindex: 1}", "spec: {completions: 1, completions: 2}", "spec: {completions: four}"} {
		if err := strictly([]byte(wrong), &job); err == nil {
			t.Errorf("this was read: %s", wrong)
		}
	}
}

// TestJob looks at what the Job promises.
func TestJob(t *testing.T) {
	m := build(t)
	spec := m.job.Spec
	switch {
	case spec.CompletionMode == nil || *spec.CompletionMode != batchv1.IndexedCompletion:
		t.Error("it is no Indexed Job")
	case spec.Completions == nil || spec.BackoffLimitPerIndex == nil || *spec.BackoffLimitPerIndex < 1:
		t.Error("an index that fails is not tried again")
	case spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever:
		t.Error("podFailurePolicy needs restartPolicy Never")
	case len(spec.Template.Spec.Containers) != 1:
		t.Fatal("there is one container")
	}
	fails := map[int32]bool{}
	for _, rule := range spec.PodFailurePolicy.Rules {
		if rule.OnExitCodes == nil {
			continue
		}
		if rule.Action != batchv1.PodFailurePolicyActionFailIndex || rule.OnExitCodes.Operator != batchv1.PodFailurePolicyOnExitCodesOpIn ||
			*rule.OnExitCodes.ContainerName != spec.Template.Spec.Containers[0].Name {
			t.Errorf("rule %+v", rule)
		}
		for _, status := range rule.OnExitCodes.Values {
			fails[status] = true
		}
	}
	if !fails[2] || fails[1] || len(fails) != 1 {
		t.Errorf("the index fails with the statuses %v, want 2 and no other", fails)
	}
	container := spec.Template.Spec.Containers[0]
	shards := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == "SHARDS" })
	if shards < 0 {
		t.Fatal("there is no SHARDS")
	}
	if _, err := migrate.ParseShard(container.Env[shards].Value, "0"); err != nil {
		t.Error(err)
	}
	last, err := migrate.ParseShard(container.Env[shards].Value, "3")
	if err != nil || last.Of != int(*spec.Completions) || last.Index != last.Of {
		t.Errorf("SHARDS is %q, completions %d", container.Env[shards].Value, *spec.Completions)
	}
	if line := strings.Join(container.Args, " "); !strings.HasPrefix(line, "migrate run /plan/plan.yaml --shard $(SHARDS) --json ") {
		t.Errorf("it runs %s", line)
	}
}

// TestPrivileges says that the pod has none.
func TestPrivileges(t *testing.T) {
	pod := build(t).job.Spec.Template.Spec
	container := pod.Containers[0]
	security := container.SecurityContext
	is := func(what string, got *bool, want bool) {
		t.Helper()
		if got == nil || *got != want {
			t.Errorf("%s is not %t", what, want)
		}
	}
	is("runAsNonRoot", pod.SecurityContext.RunAsNonRoot, true)
	is("automountServiceAccountToken", pod.AutomountServiceAccountToken, false)
	is("allowPrivilegeEscalation", security.AllowPrivilegeEscalation, false)
	is("readOnlyRootFilesystem", security.ReadOnlyRootFilesystem, true)
	if !slices.Equal(security.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(security.Capabilities.Add) > 0 {
		t.Errorf("capabilities %+v", security.Capabilities)
	}
	if *pod.SecurityContext.RunAsUser == 0 || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%+v", pod.SecurityContext)
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		request, limit := container.Resources.Requests[name], container.Resources.Limits[name]
		if request.IsZero() || limit.Cmp(request) < 0 {
			t.Errorf("%s: %s to %s", name, request.String(), limit.String())
		}
	}
}

// TestVolumes says that what the pod mounts is there, and that the plan can be read.
func TestVolumes(t *testing.T) {
	m := build(t)
	pod := m.job.Spec.Template.Spec
	there := map[string]bool{}
	for _, volume := range pod.Volumes {
		there[volume.Name] = true
		if volume.ConfigMap != nil && volume.ConfigMap.Name != m.plan.Name {
			t.Errorf("the ConfigMap is %s, want %s", volume.ConfigMap.Name, m.plan.Name)
		}
		if volume.Secret != nil && volume.Secret.SecretName != m.secret.Name {
			t.Errorf("the Secret is %s, want %s", volume.Secret.SecretName, m.secret.Name)
		}
	}
	for _, mount := range pod.Containers[0].VolumeMounts {
		if !there[mount.Name] {
			t.Errorf("there is no volume %s", mount.Name)
		}
		delete(there, mount.Name)
	}
	if len(there) > 0 {
		t.Errorf("nobody mounts %v", there)
	}
	if _, err := migrate.ParsePlan("plan.yaml", []byte(m.plan.Data["plan.yaml"])); err != nil {
		t.Error(err)
	}
	if m.secret.Type != corev1.SecretTypeDockerConfigJson || len(m.secret.Data[corev1.DockerConfigJsonKey]) == 0 {
		t.Errorf("the Secret is %s with %v", m.secret.Type, m.secret.Data)
	}
}
