// Package sim has no code but tests. They boot instances by the ten thousand in a
// world in memory. The agent runs in it as it is: pkg/agent, the steps of pkg/boot,
// the rules of pkg/storage, and the readers of roles and user-data. EC2, the
// metadata service, S3, disks, systemd, the database and people are the world's.
//
// What the agent asks of the world waits until all goroutines wait. Then the seed
// lets one thing happen, at one instant. So a seed is a schedule, and tells the same
// story each time.
package sim
