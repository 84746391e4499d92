"""The network: attention, Focus blocks, decoder, backbone, MSHT itself and what it is compared with."""
