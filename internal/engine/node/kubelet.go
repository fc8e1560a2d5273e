package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/moby/sys/userns"
	"go.opentelemetry.io/otel/trace/noop"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/server"
	kubeletutil "k8s.io/kubernetes/pkg/kubelet/util"
	"k8s.io/kubernetes/pkg/util/oom"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/configmap"
	"k8s.io/kubernetes/pkg/volume/csi"
	"k8s.io/kubernetes/pkg/volume/downwardapi"
	"k8s.io/kubernetes/pkg/volume/emptydir"
	"k8s.io/kubernetes/pkg/volume/hostpath"
	"k8s.io/kubernetes/pkg/volume/image"
	"k8s.io/kubernetes/pkg/volume/local"
	"k8s.io/kubernetes/pkg/volume/projected"
	"k8s.io/kubernetes/pkg/volume/secret"
	"k8s.io/kubernetes/pkg/volume/util/hostutil"
	"k8s.io/kubernetes/pkg/volume/util/subpath"
	"k8s.io/mount-utils"

	"github.com/escale-dev/escale/internal/engine"
)

const (
	// kubeletPort is where a node's kubelet listens on the node's address.
	kubeletPort = 10250
	// maxPods is how many pods a node takes; its prefix has room for 1,022.
	maxPods = 300
	// qps and burst are the kubelet's limits towards the API server, which is on the same machine: high enough never to
	// hold back a node that starts all its pods at once.
	qps, burst = 500, 1000
)

// rootDir is where the kubelet of a node keeps pods and volumes.
func rootDir(c engine.NodeConfig) string { return filepath.Join(c.Dir, "kubelet") }

// kubeletServer is the kubelet's configuration.
func kubeletServer(c engine.NodeConfig) (*options.KubeletServer, error) {
	flags := options.NewKubeletFlags()
	flags.HostnameOverride = c.Name
	flags.NodeIP = c.Address
	flags.KubeConfig = c.Kubeconfig
	flags.RootDirectory = rootDir(c)
	flags.CertDirectory = filepath.Join(c.Dir, "pki")
	flags.NodeLabels = map[string]string{v1.LabelTopologyZone: c.Zone}

	config, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, fmt.Errorf("taking the kubelet's defaults: %w", err)
	}
	listen(config, c)
	limits(config)
	config.ClusterDomain = "cluster.local"
	config.ClusterDNS = []string{c.Address}
	config.PodLogsDir = filepath.Join(c.Dir, "logs")
	config.VolumePluginDir = filepath.Join(c.Dir, "volume-plugins")
	config.RegisterNode = true
	// The runtimes own cgroups, swap and the machine's packet filter.
	config.CgroupsPerQOS = false
	config.EnforceNodeAllocatable = nil
	config.FailCgroupV1 = false
	config.FailSwapOn = false
	config.MakeIPTablesUtilChains = false
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}, nil
}

// listen makes the kubelet's only listener the authenticated one on the node's address.
func listen(config *kubeletconfig.KubeletConfiguration, c engine.NodeConfig) {
	config.Address = c.Address
	config.Port = kubeletPort
	config.ReadOnlyPort = 0
	config.HealthzPort = 0
	config.TLSCertFile = c.ServingCert
	config.TLSPrivateKeyFile = c.ServingKey
	config.RotateCertificates = false
	config.Authentication.X509.ClientCAFile = c.ClientCA
	config.Authentication.Webhook.Enabled = true
	config.Authentication.Anonymous.Enabled = false
	config.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	config.EnableSystemLogHandler = false
}

// limits lets nothing wait that need not, and evicts only when the machine is about to stop working: the disk it shares
// with its user may well be nearly full every day.
func limits(config *kubeletconfig.KubeletConfiguration) {
	config.MaxPods = maxPods
	config.KubeAPIQPS = qps
	config.KubeAPIBurst = burst
	config.EventRecordQPS = qps
	config.EventBurst = burst
	config.RegistryPullQPS = 0
	config.SerializeImagePulls = false
	config.ImagePullCredentialsVerificationPolicy = string(kubeletconfig.NeverVerify)
	config.ImageGCHighThresholdPercent = 100
	config.ImageGCLowThresholdPercent = 99
	config.EvictionHard = map[string]string{"memory.available": "100Mi", "nodefs.available": "200Mi"}
}

// setFeatures sets the kubelet's switches that differ from upstream's defaults.
func setFeatures() error {
	gates := map[string]bool{
		// Image calls say which runtime they are for.
		string(features.RuntimeClassInImageCriAPI): true,
		// In a user namespace some sysctls and the kernel's log are out of reach, and that is no fault.
		string(features.KubeletInUserNamespace): userns.RunningInUserNS(),
		// Pods have no cgroup of their own that could be resized; their containers have.
		string(features.InPlacePodLevelResourcesVerticalScaling): false,
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(gates); err != nil {
		return fmt.Errorf("setting the kubelet's features: %w", err)
	}
	return nil
}

// clients are the kubelet's connections to the API server.
type clients struct {
	main, events, heartbeat kubernetes.Interface
}

func newClients(kubeconfig string, heartbeat time.Duration) (clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return clients{}, fmt.Errorf("reading the node's kubeconfig %q: %w", kubeconfig, err)
	}
	config.UserAgent = "escale-node"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS, config.Burst = qps, burst
	// Heartbeats never wait behind other calls, and a lost one is given up in time for the next.
	beat := rest.CopyConfig(config)
	beat.QPS = -1
	beat.Timeout = heartbeat
	var out clients
	var errs [3]error
	out.main, errs[0] = kubernetes.NewForConfig(config)
	out.events, errs[1] = kubernetes.NewForConfig(rest.CopyConfig(config))
	out.heartbeat, errs[2] = kubernetes.NewForConfig(beat)
	if err := errors.Join(errs[:]...); err != nil {
		return clients{}, fmt.Errorf("connecting with %q: %w", kubeconfig, err)
	}
	return out, nil
}

// startKubelet starts the kubelet and returns it. It goes on until the process ends: the kubelet has no stop, and ends
// the process itself when it cannot go on.
func startKubelet(c engine.NodeConfig, router *Router) (*kubelet.Kubelet, error) {
	ctx := context.Background()
	if err := setFeatures(); err != nil {
		return nil, err
	}
	s, err := kubeletServer(c)
	if err != nil {
		return nil, err
	}
	api, err := newClients(c.Kubeconfig, s.NodeStatusUpdateFrequency.Duration)
	if err != nil {
		return nil, err
	}
	if err := registerCordoned(ctx, api.main, c); err != nil {
		return nil, err
	}
	auth, reloadCA, err := app.BuildAuth(types.NodeName(c.Name), api.main, s.KubeletConfiguration)
	if err != nil {
		return nil, fmt.Errorf("setting up the kubelet's authentication: %w", err)
	}
	reloadCA(ctx.Done())
	tls, err := app.InitializeTLS(ctx, &s.KubeletFlags, &s.KubeletConfiguration)
	if err != nil {
		return nil, fmt.Errorf("setting up the kubelet's certificate: %w", err)
	}
	var started *kubelet.Kubelet
	var hastened error
	deps := dependencies(c, api, auth, tls, router)
	deps.Options = []kubelet.Option{func(k *kubelet.Kubelet) {
		started = k
		hastened = errors.Join(hastenVolumes(k), hastenProbes(k))
	}}
	kubelet.ContainerLogsDir = filepath.Join(c.Dir, "logs")
	if err := app.RunKubelet(ctx, s, deps); err != nil {
		return nil, fmt.Errorf("starting the kubelet: %w", err)
	}
	return started, hastened
}

func dependencies(c engine.NodeConfig, api clients, auth server.AuthInterface, tls *server.TLSOptions, router *Router) *kubelet.Dependencies {
	m := &machine{node: c.Name, root: c.Dir, memory: uint64(max(c.MemoryBytes, 0)), pods: router.Usage}
	mounts := mounter{mount.NewWithoutSystemd("")}
	return &kubelet.Dependencies{
		Auth:                      auth,
		TLSOptions:                tls,
		KubeClient:                api.main,
		EventClient:               api.events.CoreV1(),
		HeartbeatClient:           api.heartbeat,
		RemoteRuntimeService:      router,
		RemoteImageService:        router,
		CAdvisorInterface:         m,
		ContainerManager:          newShare(m, c.CPUMillis, c.MemoryBytes),
		OSInterface:               hostOS{},
		HostUtil:                  hostUtil{hostutil.NewHostUtil()},
		Mounter:                   mounts,
		Subpather:                 subpath.New(mounts),
		VolumePlugins:             volumePlugins(),
		OOMAdjuster:               oom.NewFakeOOMAdjuster(),
		TracerProvider:            noop.NewTracerProvider(),
		PodStartupLatencyTracker:  kubeletutil.NewPodStartupLatencyTracker(),
		NodeStartupLatencyTracker: kubeletutil.NewNodeStartupLatencyTracker(),
	}
}

// volumePlugins are the kinds of volumes that need nothing but this machine, and CSI for all others.
func volumePlugins() []volume.VolumePlugin {
	var all []volume.VolumePlugin
	for _, plugins := range [][]volume.VolumePlugin{
		emptydir.ProbeVolumePlugins(),
		hostpath.ProbeVolumePlugins(volume.VolumeConfig{}),
		secret.ProbeVolumePlugins(),
		downwardapi.ProbeVolumePlugins(),
		configmap.ProbeVolumePlugins(),
		projected.ProbeVolumePlugins(),
		local.ProbeVolumePlugins(),
		csi.ProbeVolumePlugins(),
		image.ProbeVolumePlugins(),
	} {
		all = append(all, plugins...)
	}
	return all
}

// registerCordoned makes the Node object before the kubelet does if the node is to take no pods yet; the kubelet cannot
// register a node as unschedulable.
func registerCordoned(ctx context.Context, api kubernetes.Interface, c engine.NodeConfig) error {
	if !c.Cordoned {
		return nil
	}
	_, err := api.CoreV1().Nodes().Create(ctx, &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: c.Name, Labels: map[string]string{
			v1.LabelHostname: c.Name, v1.LabelTopologyZone: c.Zone,
		}},
		Spec: v1.NodeSpec{Unschedulable: true},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("registering node %q as cordoned: %w", c.Name, err)
	}
	return nil
}
