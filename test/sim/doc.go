// Package sim boots instances by the ten thousand in a simulated world in memory. It
// has no code but tests. The world runs the real pkg/agent, from its start to its exit,
// and takes the place of pkg/machine: EC2, the metadata service, S3, disks, systemd,
// the database and people are simulated.
//
// Each request of the agent waits until all goroutines wait. Then the seed selects
// exactly one thing that happens, at its own time. So a seed is a schedule, and gives
// the same history each time.
package sim
