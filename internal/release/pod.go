package release

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/escale-dev/escale/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Resources of a pod whose App names none.
const (
	defaultCPU         = "50m"
	defaultMemory      = "64Mi"
	defaultMemoryLimit = "256Mi"
)

// podTemplate is what every pod of the App's revision is made from, labelled with that revision.
func podTemplate(app v1alpha1.App) (corev1.PodTemplateSpec, error) {
	spec, err := podSpec(app)
	if err != nil {
		return corev1.PodTemplateSpec{}, err
	}
	t := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: objectMeta(app).Labels}, Spec: spec}
	revision, err := revisionOf(t)
	if err != nil {
		return corev1.PodTemplateSpec{}, err
	}
	t.Labels[v1alpha1.LabelRevision] = revision
	return t, nil
}

func podSpec(app v1alpha1.App) (corev1.PodSpec, error) {
	c, err := container(app)
	if err != nil {
		return corev1.PodSpec{}, err
	}
	volumes, err := volumes(app.Spec.Storage)
	if err != nil {
		return corev1.PodSpec{}, err
	}
	spec := corev1.PodSpec{
		ServiceAccountName:            app.Name,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false), // the variables of every Service would be in every pod
		TerminationGracePeriodSeconds: ptr.To(ptr.Deref(app.Spec.StopAfterSeconds, defaultStopSeconds) + drainSeconds),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.To(true),
			RunAsUser:      ptr.To[int64](nobody),
			RunAsGroup:     ptr.To[int64](nobody),
			FSGroup:        ptr.To[int64](nobody),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		// With the usual 5, a name such as api.example.com is first asked with every search domain appended: four
		// questions without an answer for each one with.
		DNSConfig:  &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("1")}}},
		Containers: []corev1.Container{c},
		Volumes:    volumes,
	}
	if app.Spec.Priority != "" {
		spec.PriorityClassName = priorityClass(app.Spec.Priority)
	}
	if runtimeOf(app.Spec) == v1alpha1.RuntimeProcess {
		spec.RuntimeClassName = ptr.To(v1alpha1.RuntimeClassProcess)
	}
	if app.Spec.Schedule == "" {
		spec.TopologySpreadConstraints = spread(app)
	}
	return spec, nil
}

// runtimeOf is how the pods run: a bare command is a program of the machine, an image a container.
func runtimeOf(spec v1alpha1.AppSpec) v1alpha1.Runtime {
	if spec.Image == "" {
		return cmp.Or(spec.Runtime, v1alpha1.RuntimeProcess)
	}
	return cmp.Or(spec.Runtime, v1alpha1.RuntimeContainer)
}

// spread puts the pods of one revision into different zones where it can. It is a wish, not a condition: a pod in the
// wrong zone serves better than one that waits. The revision is told by the pod-template-hash, or a rolling update
// would count the pods it is about to remove.
func spread(app v1alpha1.App) []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{{
		MaxSkew:           1,
		TopologyKey:       corev1.LabelTopologyZone,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     &metav1.LabelSelector{MatchLabels: selector(app)},
		MatchLabelKeys:    []string{"pod-template-hash"},
	}}
}

func container(app v1alpha1.App) (corev1.Container, error) {
	image := app.Spec.Image
	switch {
	case image == "" && app.Spec.Source != nil:
		return corev1.Container{}, ErrNotBuilt
	case image == "" && len(app.Spec.Command) == 0:
		return corev1.Container{}, fmt.Errorf("nothing to run: set image, source or command")
	case image == "":
		image = v1alpha1.HostImage
	}
	resources, err := resources(ptr.Deref(app.Spec.Resources, v1alpha1.Resources{}))
	if err != nil {
		return corev1.Container{}, err
	}
	c := corev1.Container{
		Name:         containerName,
		Image:        image,
		Command:      app.Spec.Command,
		Env:          environment(app.Spec),
		Resources:    resources,
		VolumeMounts: mounts(app.Spec.Storage),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	if app.Spec.Port != 0 {
		c.Ports = []corev1.ContainerPort{{Name: portName, ContainerPort: app.Spec.Port, Protocol: corev1.ProtocolTCP}}
		c.Lifecycle = lifecycle()
		c.StartupProbe, c.ReadinessProbe = probes(app.Spec)
	}
	return c, nil
}

// environment is PORT and HOST, then the App's own, which may replace them. The pods' user has no home folder, so
// programs of the machine get one they may write to.
func environment(spec v1alpha1.AppSpec) []corev1.EnvVar {
	var defaults []corev1.EnvVar
	if spec.Port != 0 {
		defaults = append(defaults,
			corev1.EnvVar{Name: "PORT", Value: strconv.Itoa(int(spec.Port))},
			corev1.EnvVar{Name: "HOST", Value: "0.0.0.0"})
	}
	if runtimeOf(spec) == v1alpha1.RuntimeProcess {
		defaults = append(defaults, corev1.EnvVar{Name: "HOME", Value: "/tmp"})
	}
	env := slices.DeleteFunc(defaults, func(d corev1.EnvVar) bool {
		return slices.ContainsFunc(spec.Env, func(e v1alpha1.EnvVar) bool { return e.Name == d.Name })
	})
	for _, e := range spec.Env {
		v := corev1.EnvVar{Name: e.Name, Value: e.Value}
		if e.Secret != nil {
			v.ValueFrom = &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: e.Secret.Name},
				Key:                  e.Secret.Key,
			}}
		}
		env = append(env, v)
	}
	return env
}

// lifecycle keeps a pod serving for a moment after its deletion. Kubernetes tells the pod and the proxies at the same
// time, so without it the pod closes its port while some proxies still send requests there. The sleep is the kubelet's
// (KEP-3960): it needs no program in the image.
func lifecycle() *corev1.Lifecycle {
	return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: drainSeconds}}}
}

// probes ask once a second until the first good answer, so that a pod serves as soon as it can, and every two seconds
// from then on. There is no liveness probe: one that fails under load restarts the pods that are left and makes an
// outage of a peak; a program that cannot go on should exit.
func probes(spec v1alpha1.AppSpec) (startup, readiness *corev1.Probe) {
	handler := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(portName)}}
	if spec.Health != "" {
		handler = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: spec.Health, Port: intstr.FromString(portName)}}
	}
	startup = &corev1.Probe{ProbeHandler: handler, PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: startSeconds}
	readiness = &corev1.Probe{ProbeHandler: handler, PeriodSeconds: 2, TimeoutSeconds: 2, FailureThreshold: 3}
	return startup, readiness
}

// resources are the requests and limits of one pod. The CPU has no limit unless one is asked for: a limit slows a pod
// down while the node has nothing else to do. Memory has one, because a node without memory kills at random.
func resources(r v1alpha1.Resources) (corev1.ResourceRequirements, error) {
	memoryLimit := cmp.Or(r.MemoryLimit, r.Memory, defaultMemoryLimit)
	out := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, s := range []struct {
		list  corev1.ResourceList
		name  corev1.ResourceName
		field string
		value string
	}{
		{out.Requests, corev1.ResourceCPU, "resources.cpu", cmp.Or(r.CPU, defaultCPU)},
		{out.Requests, corev1.ResourceMemory, "resources.memory", cmp.Or(r.Memory, defaultMemory)},
		{out.Limits, corev1.ResourceCPU, "resources.cpuLimit", r.CPULimit},
		{out.Limits, corev1.ResourceMemory, "resources.memoryLimit", memoryLimit},
	} {
		if s.value == "" {
			continue
		}
		q, err := quantity(s.field, s.value)
		if err != nil {
			return out, err
		}
		s.list[s.name] = q
	}
	return atMost(out), nil
}

// atMost lowers a default that is above the limit the App names.
func atMost(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	for name, limit := range r.Limits {
		if q := r.Requests[name]; q.Cmp(limit) > 0 {
			r.Requests[name] = limit
		}
	}
	return r
}

func mounts(storage []v1alpha1.Storage) []corev1.VolumeMount {
	var out []corev1.VolumeMount
	for i, s := range sortedStorage(storage) {
		out = append(out, corev1.VolumeMount{Name: volumeName(i), MountPath: s.Path})
	}
	return out
}

func volumes(storage []v1alpha1.Storage) ([]corev1.Volume, error) {
	var out []corev1.Volume
	for i, s := range sortedStorage(storage) {
		dir := &corev1.EmptyDirVolumeSource{}
		if s.Size != "" {
			q, err := quantity("storage size", s.Size)
			if err != nil {
				return nil, err
			}
			dir.SizeLimit = &q
		}
		out = append(out, corev1.Volume{Name: volumeName(i), VolumeSource: corev1.VolumeSource{EmptyDir: dir}})
	}
	return out, nil
}

func volumeName(i int) string { return "storage-" + strconv.Itoa(i) }
