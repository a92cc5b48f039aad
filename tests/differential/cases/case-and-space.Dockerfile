from registry.test/base as B
  run   echo a   b > /1
	Copy a.txt   /x
env  A=b
