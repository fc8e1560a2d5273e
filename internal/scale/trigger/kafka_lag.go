package trigger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// partition is one partition of a topic.
type partition struct {
	topic string
	id    int32
}

// position is where a partition begins and ends, and how far the group has come.
type position struct {
	partition
	start, end int64
	// committed is below 0 when the group has committed nothing.
	committed int64
}

// kafkaReader asks the brokers for positions.
type kafkaReader struct {
	admin *kadm.Client
	rules lagRules

	mu sync.Mutex
	// previous is how far the group had come at the read before, kept with excludePersistentLag only.
	previous map[partition]int64
}

func (k *kafkaReader) read(ctx context.Context) (sample, error) {
	positions, err := k.positions(ctx)
	if err != nil {
		return sample{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	lag, all := k.rules.lag(positions, k.previous)
	return sample{value: float64(lag), active: all > k.rules.activation}, nil
}

func (k *kafkaReader) positions(ctx context.Context) ([]position, error) {
	committed, err := k.committed(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking how far group %q has come: %w", k.rules.group, err)
	}
	topics := []string{k.rules.topic}
	if k.rules.topic == "" {
		topics = committed.Partitions().Topics()
	}
	if len(topics) == 0 {
		return nil, nil
	}
	ends, err := k.admin.ListEndOffsets(ctx, topics...)
	if err := cmp.Or(err, ends.Error()); err != nil {
		return nil, fmt.Errorf("asking where topic %q ends: %w", topics, err)
	}
	var starts kadm.ListedOffsets
	if k.rules.earliest && !k.rules.zeroOnInvalid {
		if starts, err = k.admin.ListStartOffsets(ctx, topics...); err != nil {
			return nil, fmt.Errorf("asking where topic %q begins: %w", topics, err)
		}
	}
	positions := k.gather(ends, starts, committed)
	if len(positions) == 0 {
		return nil, fmt.Errorf("topic %q has none of the partitions that count; correct partitionLimitation", topics)
	}
	return positions, nil
}

// committed asks for the group's offsets; a group that does not exist has none.
func (k *kafkaReader) committed(ctx context.Context) (kadm.OffsetResponses, error) {
	committed, err := k.admin.FetchOffsets(ctx, k.rules.group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return kadm.OffsetResponses{}, nil
	}
	if err != nil {
		return nil, err
	}
	return committed, committed.Error()
}

func (k *kafkaReader) gather(ends, starts kadm.ListedOffsets, committed kadm.OffsetResponses) []position {
	var positions []position
	ends.Each(func(end kadm.ListedOffset) {
		if k.rules.only != nil && !k.rules.only[end.Partition] {
			return
		}
		p := position{partition: partition{end.Topic, end.Partition}, end: end.Offset, committed: -1}
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok && start.Err == nil {
			p.start = start.Offset
		}
		if at, ok := committed.Lookup(end.Topic, end.Partition); ok {
			p.committed = at.At
		}
		positions = append(positions, p)
	})
	return positions
}

// lag sums up what the group has yet to do. The second number includes partitions that do not move, which count for
// activity only. previous is brought up to date.
func (r lagRules) lag(positions []position, previous map[partition]int64) (lag, all int64) {
	behind := int64(0)
	for _, p := range positions {
		one, raw := r.partitionLag(p, previous)
		lag, all = lag+one, all+raw
		if one > 0 {
			behind++
		}
	}
	return r.limit(lag, int64(len(positions)), behind), all
}

func (r lagRules) partitionLag(p position, previous map[partition]int64) (lag, all int64) {
	if p.committed < 0 {
		lag = r.uncommitted(p)
		return lag, lag
	}
	lag = p.end - p.committed
	if !r.excludePersistent {
		return lag, lag
	}
	before, known := previous[p.partition]
	previous[p.partition] = p.committed
	if known && before == p.committed {
		return 0, lag
	}
	return lag, lag
}

// uncommitted is the lag of a partition of which the group has committed nothing: with the policy "latest" it counts as
// one record, so that a first consumer is started, with "earliest" as all that the partition holds.
func (r lagRules) uncommitted(p position) int64 {
	switch {
	case r.zeroOnInvalid:
		return 0
	case r.earliest:
		return max(0, p.end-p.start)
	}
	return 1
}

// limit keeps the lag from asking for more consumers than have something to consume.
func (r lagRules) limit(lag, partitions, behind int64) int64 {
	if r.idle && !r.limitToLag && !r.spreading {
		return lag
	}
	if r.spreading {
		lag = r.threshold * evenly(lag, partitions, r.threshold)
	}
	most := partitions
	if r.limitToLag {
		most = behind
	}
	if lag/r.threshold > most {
		return most * r.threshold
	}
	return lag
}

// evenly is the smallest number of consumers that handles the lag and divides the partitions without rest.
func evenly(lag, partitions, threshold int64) int64 {
	var factors []int64
	for i := int64(1); i*i <= partitions; i++ {
		if partitions%i == 0 {
			factors = append(factors, i, partitions/i)
		}
	}
	slices.Sort(factors)
	for _, f := range factors {
		if f*threshold >= lag {
			return f
		}
	}
	return partitions
}
