# bf-mkinitramfs: on the image builder's machine.
bf-mkinitramfs_SRC := $(patsubst %,initramfs/pack/%.c, \
	closure codec cpio devtree elfinfo kmods output problem tree wants)
bf-mkinitramfs_MAIN := initramfs/pack/bf-mkinitramfs.c
bf-mkinitramfs_PKGS := libkmod libelf liblzma libzstd zlib
# Debian 12's has no .pc file.
bf-mkinitramfs_LIBS := -lfdt
