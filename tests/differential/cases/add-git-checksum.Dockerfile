FROM registry.test/base
ADD --checksum=@COMMIT@ git.test/repo.git#main /a
