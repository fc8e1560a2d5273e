package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/kubelet"
	"k8s.io/kubernetes/pkg/kubelet/container"
	"k8s.io/kubernetes/pkg/kubelet/volumemanager"
	"k8s.io/kubernetes/pkg/volume/util/types"
)

// TestHastenVolumes notices a Kubernetes release in which the kubelet keeps its volume manager elsewhere.
func TestHastenVolumes(t *testing.T) {
	if err := hastenVolumes(&kubelet.Kubelet{}); err != nil {
		t.Fatal(err)
	}
}

// slowMounts has a pod's volume after a delay, and waits like the kubelet: it looks at once, then every 300 ms.
type slowMounts struct {
	volumemanager.VolumeManager
	ready time.Time
}

func (s slowMounts) GetMountedVolumesForPod(types.UniquePodName) container.VolumeMap {
	if time.Now().Before(s.ready) {
		return nil
	}
	return container.VolumeMap{"data": container.VolumeInfo{}}
}

func (s slowMounts) WaitForAttachAndMount(context.Context, *v1.Pod) error {
	for time.Now().Before(s.ready) {
		<-time.After(300 * time.Millisecond)
	}
	return nil
}

func TestVolumesWaitInSmallSteps(t *testing.T) {
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u"},
		Spec: v1.PodSpec{
			Containers: []v1.Container{{Name: "c", VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
			Volumes:    []v1.Volume{{Name: "data"}, {Name: "not-mounted"}},
		},
	}
	cases := []struct {
		name       string
		ready, max time.Duration
	}{
		{"volumes that are there cost nothing", 0, 0},
		{"volumes that come are seen soon", 95 * time.Millisecond, 100 * time.Millisecond},
		{"volumes that take long are the kubelet's business", 2 * time.Second, 2300 * time.Millisecond},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				if err := (volumes{slowMounts{ready: start.Add(tc.ready)}}).WaitForAttachAndMount(t.Context(), pod); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took < tc.ready || took > tc.max {
					t.Errorf("took %s, want %s to %s", took, tc.ready, tc.max)
				}
			})
		})
	}
}

func TestVolumesStopWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		pod := &v1.Pod{Spec: v1.PodSpec{
			Containers: []v1.Container{{VolumeMounts: []v1.VolumeMount{{Name: "data"}}}},
			Volumes:    []v1.Volume{{Name: "data"}},
		}}
		err := (volumes{slowMounts{ready: time.Now().Add(time.Hour)}}).WaitForAttachAndMount(ctx, pod)
		if err == nil {
			t.Error("the wait ended well without its volumes")
		}
	})
}
