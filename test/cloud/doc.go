// Package cloud is a fake AWS for tests and the demo: IMDS, EC2 and S3 as an instance sees them, with the delays,
// states and error codes of the real services, in one process, and only on loopback addresses or Unix sockets.
//
//	aws := cloud.New(cloud.Config{Dir: dir, Delays: ec2.Typical(), Log: log})
//	defer aws.Close()
//	aws.IAM.Allow("db", "ec2:Describe*", "ec2:AttachVolume", "ec2:CreateTags", "s3:GetObject")
//
//	i, err := aws.EC2.Run(ec2.Launch{Role: "db", UserData: userData}) // pending, then running
//	imdsURL, err := aws.Listen(i.IMDS)                                // "http://127.0.0.1:40123"
//	ec2URL, err := aws.Listen(aws.EC2)
//	s3URL, err := aws.Listen(aws.S3) // or aws.Serve(listener, aws.S3)
//	i.SetHardware(machine)           // EC2 calls its Plug and Unplug
//
//	v, err := aws.EC2.CreateVolume(ec2.Volume{Tags: map[string]string{"cluster": "orders"}})
//	err = aws.S3.Put("orders-secrets", "root.sql.age", ciphertext)
//
//	// The agent in the machine finds the volume and attaches it.
//	err = aws.EC2.WaitVolume(ctx, v.ID, ec2.Attached)
//	calls := aws.Calls.Of("ec2:AttachVolume") // who called, when, with which parameters, and the result
//	needs := aws.Calls.Needs()                // the IAM actions that all calls need
//
// A test can make things go wrong at any time:
//
//	aws.EC2.Fail("AttachVolume", service.DoneButUnavailable, 1) // answers 503, but takes effect
//	aws.EC2.Fail("Describe*", service.Throttled, 5)
//	aws.EC2.Throttle("DescribeVolumes", 2, 0.5) // a smaller token bucket
//	aws.EC2.SetLag(3 * time.Second)             // Describe calls see changes later
//	aws.EC2.StickAttach(v.ID)                   // stays attaching until Release
//	aws.EC2.Attach(v.ID, other.ID, "/dev/sdf")  // somebody else attaches it
//	aws.S3.Fail("GetObject", service.Fault{Cut: 100}, 1)
//	aws.S3.Blackhole()                          // accepts calls, and answers none until Heal
//	i.IMDS.BlockTokens()                        // as if the hop limit were too low
//	i.IMDS.DelayCredentials(10 * time.Second)
//
// The fake is as strict as AWS: it verifies signatures, session tokens and regions; an IAM role may do only what it is
// allowed; API calls take tokens from buckets of the published sizes; lists come in pages and in no order. Its words
// are AWS's, as documented or as people quote them.
//
// Everything that takes time uses timers, so a test in a testing/synctest bubble that calls the handlers without a
// network (package cloudtest) does not wait.
//
// There are no signed URLs, no bucket policies, no actions of EC2 other than those in a map of that name in package
// api, and no Xen devices. The test launches, stops and terminates instances. The machine does not follow the
// instance, nor the instance the machine.
//
// The packages below, from the bottom up:
//
//   - wildcard matches the patterns of policies and filters.
//   - service is what all services share: faults, the record of calls, work in the background.
//   - sigv4 verifies signatures.
//   - iam has IAM roles, policies and credentials.
//   - imds is the metadata service of one instance.
//   - s3 is S3.
//   - ec2 is the state of EC2; ec2/api is the API in front of it.
//   - cloudtest helps tests of the fake.
package cloud
