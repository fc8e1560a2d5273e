package node

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm"
)

// cpuPeriod is the kernel's default period of processor quotas, in microseconds.
const cpuPeriod = 100_000

// share is the kubelet's container manager. It manages no cgroups, which is the runtimes' business, and says how much
// of the machine is this node's.
type share struct {
	cm.ContainerManager
	machine *machine
	// cpuMillis and memoryBytes are what pods may reserve here.
	cpuMillis, memoryBytes int64
}

func newShare(m *machine, cpuMillis, memoryBytes int64) *share {
	return &share{ContainerManager: cm.NewStubContainerManager(), machine: m, cpuMillis: cpuMillis, memoryBytes: memoryBytes}
}

// GetNodeAllocatableReservation is what the machine has and the node has not.
func (s *share) GetNodeAllocatableReservation() v1.ResourceList {
	info, err := s.machine.MachineInfo()
	if err != nil {
		return nil
	}
	cpu, memory := reservation(int64(info.NumCores)*1000, int64(info.MemoryCapacity), s.cpuMillis, s.memoryBytes)
	return v1.ResourceList{
		v1.ResourceCPU:    *resource.NewMilliQuantity(cpu, resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(memory, resource.BinarySI),
	}
}

// reservation is the machine less the share; a share of nothing, or of more than there is, reserves nothing.
func reservation(cpu, memory, cpuShare, memoryShare int64) (int64, int64) {
	rest := func(all, share int64) int64 {
		if share <= 0 {
			return 0
		}
		return max(all-share, 0)
	}
	return rest(cpu, cpuShare), rest(memory, memoryShare)
}

// GetPodCgroupRoot names what the machine tells of all pods together; there is no such cgroup.
func (s *share) GetPodCgroupRoot() string { return allPods }

// GetCapacity adds the size of the node's file system.
func (s *share) GetCapacity(localStorage bool) v1.ResourceList {
	fs, err := s.machine.RootFsInfo()
	if err != nil || !localStorage {
		return v1.ResourceList{}
	}
	return v1.ResourceList{v1.ResourceEphemeralStorage: *resource.NewQuantity(int64(fs.Capacity), resource.BinarySI)}
}

// NewPodContainerManager lets containers be resized while they run.
func (s *share) NewPodContainerManager() cm.PodContainerManager {
	return noPodCgroups{s.ContainerManager.NewPodContainerManager()}
}

// noPodCgroups stands for the cgroups that pods do not have here: each is always what its pod asks for, so that the
// kubelet resizes the containers, which have cgroups, and nothing else.
type noPodCgroups struct{ cm.PodContainerManager }

// GetPodCgroupConfig is what the pod asks for; -1 is no limit.
func (noPodCgroups) GetPodCgroupConfig(pod *v1.Pod, _ v1.ResourceName) (*cm.ResourceConfig, error) {
	unlimited := int64(-1)
	c := cm.ResourceConfigForPod(pod, true, cpuPeriod, false, kubeletconfig.NoneMemoryReservationPolicy)
	if c.Memory == nil {
		c.Memory = &unlimited
	}
	if c.CPUQuota == nil {
		c.CPUQuota = &unlimited
	}
	return c, nil
}

// SetPodCgroupConfig has nothing to set.
func (noPodCgroups) SetPodCgroupConfig(klog.Logger, *v1.Pod, *cm.ResourceConfig) error { return nil }
