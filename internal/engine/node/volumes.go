package node

import (
	"context"
	"fmt"
	"reflect"
	"time"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/kubernetes/pkg/kubelet"
	"k8s.io/kubernetes/pkg/kubelet/volumemanager"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

const (
	// mountStep is how often the node looks whether a pod's volumes are there.
	mountStep = 10 * time.Millisecond
	// mountPatience is when it leaves the waiting to the kubelet, which looks every 300 ms and reports errors.
	mountPatience = time.Second
)

// volumes waits for a new pod's volumes in small steps. The kubelet's own wait looks once, then after 300 ms, and since
// every pod with a service account token has a volume, every pod would pay that.
type volumes struct{ volumemanager.VolumeManager }

// WaitForAttachAndMount has the contract of the kubelet's.
func (v volumes) WaitForAttachAndMount(ctx context.Context, pod *v1.Pod) error {
	mounts, devices, _ := volumeutil.GetPodVolumeNames(pod, false)
	expected := mounts.Union(devices)
	name := volumeutil.GetUniquePodName(pod)
	mounted := func(context.Context) (bool, error) {
		have := v.GetMountedVolumesForPod(name)
		for volume := range expected {
			if _, ok := have[volume]; !ok {
				return false, nil
			}
		}
		return true, nil
	}
	// Neither outcome decides anything: the kubelet's own wait follows, and answers at once if the volumes are there.
	if err := wait.PollUntilContextTimeout(ctx, mountStep, mountPatience, true, mounted); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return v.VolumeManager.WaitForAttachAndMount(ctx, pod)
}

// hastenVolumes puts volumes around the kubelet's volume manager. There is no dependency to inject it by, so the field is
// set by reflection; the Kubernetes version is pinned, and a test notices if the field goes.
func hastenVolumes(k *kubelet.Kubelet) error {
	field := reflect.ValueOf(k).Elem().FieldByName("volumeManager")
	if !field.IsValid() || field.Type() != reflect.TypeFor[volumemanager.VolumeManager]() {
		return fmt.Errorf("the kubelet has no volume manager to hasten: its type changed")
	}
	manager := (*volumemanager.VolumeManager)(unsafe.Pointer(field.UnsafeAddr()))
	*manager = volumes{*manager}
	return nil
}
