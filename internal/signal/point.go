package signal

import (
	"math"
	"math/bits"
	"time"
)

// point is the facts of one tick in few bytes.
type point struct {
	unixMilli int64
	// trafficAge and usageAge are how much older than the tick the values are.
	trafficAge, usageAge                     age
	inFlight, held, rate, errorRate          float32
	cpu, memory, cpuReserved, memoryReserved float32
	desired, pods                            uint16
	ready                                    uint16
}

func packPoint(f *Facts) point {
	return point{
		unixMilli: f.At.UnixMilli(), trafficAge: ageOf(f.At, f.TrafficAt), usageAge: ageOf(f.At, f.UsageAt),
		inFlight: float32(f.InFlight), held: float32(f.Held), rate: float32(f.Rate), errorRate: float32(f.ErrorRate),
		cpu: float32(f.CPU), memory: float32(f.Memory),
		cpuReserved: float32(f.CPUReserved), memoryReserved: float32(f.MemoryReserved),
		desired: packPods(f.Desired), pods: packPods(f.Pods), ready: packPods(f.Ready),
	}
}

func packPods(n int32) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

func (p *point) at() time.Time { return time.UnixMilli(p.unixMilli) }

func (p *point) facts() Facts {
	at := p.at()
	return Facts{
		At: at, TrafficAt: p.trafficAge.before(at), UsageAt: p.usageAge.before(at),
		InFlight: float64(p.inFlight), Held: float64(p.held), Rate: float64(p.rate), ErrorRate: float64(p.errorRate),
		CPU: float64(p.cpu), Memory: float64(p.memory),
		CPUReserved: float64(p.cpuReserved), MemoryReserved: float64(p.memoryReserved),
		Desired: int32(p.desired), Pods: int32(p.pods), Ready: int32(p.ready),
	}
}

// age is a duration in steps of 10 ms, up to eleven minutes; ageUnknown stands for a value that was not observed.
type age uint16

const (
	ageStep    = 10 * time.Millisecond
	ageUnknown = age(math.MaxUint16)
)

func ageOf(tick, observed time.Time) age {
	if observed.IsZero() {
		return ageUnknown
	}
	return age(min(max(tick.Sub(observed)/ageStep, 0), time.Duration(ageUnknown-1)))
}

func (a age) before(tick time.Time) time.Time {
	if a == ageUnknown {
		return time.Time{}
	}
	return tick.Add(-time.Duration(a) * ageStep)
}

// packed is a Histogram in 16 bits a bucket: 11 of the mantissa, 5 of the exponent.
type packed struct {
	buckets [len(LatencyBounds) + 1]uint16
	sum     float32
}

const mantissaBits = 11

func pack(h *Histogram) (p packed) {
	for i, n := range h.Buckets {
		p.buckets[i] = packCount(n)
	}
	p.sum = float32(h.Sum)
	return p
}

func (p *packed) unpack() (h Histogram) {
	for i, n := range p.buckets {
		h.Buckets[i] = unpackCount(n)
	}
	h.Sum = float64(p.sum)
	return h
}

// packCount keeps the highest bits of a count, rounded to the nearest.
func packCount(n uint64) uint16 {
	n = min(n, 1<<40)
	shift := max(bits.Len64(n)-mantissaBits, 0)
	if shift > 0 {
		n += 1 << (shift - 1)
		shift = max(bits.Len64(n)-mantissaBits, 0)
	}
	return uint16(shift)<<mantissaBits | uint16(n>>shift)
}

func unpackCount(p uint16) uint64 { return uint64(p&(1<<mantissaBits-1)) << (p >> mantissaBits) }
