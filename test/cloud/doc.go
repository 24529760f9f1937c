// Package cloud is a fake AWS for tests and the demo: IMDS, EC2 and S3 as an instance sees them,
// with the delays, states and error codes of the real ones, in one process and on loopback
// addresses or Unix sockets only.
//
//	aws := cloud.New(cloud.Config{Dir: dir, Delays: cloud.Typical(), Log: log})
//	defer aws.Close()
//	aws.IAM.Allow("db", "ec2:Describe*", "ec2:AttachVolume", "ec2:CreateTags", "s3:GetObject")
//
//	i, err := aws.EC2.Run(cloud.Launch{Role: "db", UserData: userData}) // pending, then running
//	imds, err := aws.Listen(i.IMDS)                                     // "http://127.0.0.1:40123"
//	ec2, err := aws.Listen(aws.EC2)
//	s3, err := aws.Listen(aws.S3) // or aws.Serve(listener, aws.S3)
//	i.SetHardware(machine)        // what Plug and Unplug are called of
//
//	v, err := aws.EC2.CreateVolume(cloud.Volume{Tags: map[string]string{"cluster": "orders"}})
//	err = aws.S3.Put("orders-secrets", "root.sql.age", ciphertext)
//
//	// The agent in the machine finds the volume and attaches it.
//	err = aws.EC2.WaitVolume(ctx, v.ID, cloud.Attached)
//	calls := aws.Calls.Of("ec2:AttachVolume") // who, when, with what, and what came of it
//	needs := aws.Calls.Needs()                // the IAM actions of all calls
//
// Whatever can go wrong is set by the test, at any time:
//
//	aws.EC2.Fail("AttachVolume", cloud.DoneButUnavailable, 1) // 503, and it takes effect
//	aws.EC2.Fail("Describe*", cloud.Throttled, 5)
//	aws.EC2.Throttle("DescribeVolumes", 2, 0.5) // a smaller bucket of tokens
//	aws.EC2.SetLag(3 * time.Second)             // Describe tells of changes later
//	aws.EC2.StickAttach(v.ID)                   // attaching, until Release
//	aws.EC2.Attach(v.ID, other.ID, "/dev/sdf")  // someone else has it
//	aws.S3.Fail("GetObject", cloud.Fault{Cut: 100}, 1)
//	aws.S3.Blackhole()                          // accepted, never answered, until Heal
//	i.IMDS.BlockTokens()                        // as where the hop limit is too low
//	i.IMDS.DelayCredentials(10 * time.Second)
//
// It is strict where AWS is: signatures are verified, session tokens and regions too; a role may do
// nothing that it was not allowed; API calls take tokens from buckets of the published sizes; lists
// come in pages and in no order. Its words are AWS's, as documented or as people quote them.
//
// What takes time runs on timers, so that a test in a testing/synctest bubble, which calls the
// handlers without a network, waits for nothing.
//
// What it can't do: signed URLs, bucket policies, EC2 actions but those in a map of that name, devices of Xen.
// Instances are launched, stopped and terminated by the test; the machine does not follow them, nor
// they the machine.
package cloud
