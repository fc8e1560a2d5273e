package alone

import (
	"context"
	"fmt"
	"time"

	"github.com/escale-dev/escale/internal/traffic"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	leaseName = "escale-gateway"
	// A lease that is not renewed for leaseTime is another's. Its holder gives up renewing it a little before.
	leaseTime  = 15 * time.Second
	renewUntil = 10 * time.Second
	renewEvery = 2 * time.Second
)

// lead writes statuses while this process has the lease, and asks for it again when it lost it.
func lead(ctx context.Context, c Config, g *traffic.Gateway) error {
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(c.Cluster), "lease"))
	if err != nil {
		return fmt.Errorf("making a client for the lease: %w", err)
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.Namespace, Name: leaseName},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.Name},
		},
		LeaseDuration: leaseTime, RenewDeadline: renewUntil, RetryPeriod: renewEvery,
		ReleaseOnCancel: true,
		Name:            leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				c.Log.Info("writing statuses", "lease", c.Namespace+"/"+leaseName)
				g.WriteStatuses(true)
			},
			OnStoppedLeading: func() { g.WriteStatuses(false) },
		},
	})
	if err != nil {
		return fmt.Errorf("asking for the lease %q: %w", c.Namespace+"/"+leaseName, err)
	}
	for ctx.Err() == nil {
		elector.Run(ctx)
	}
	return nil
}
