def doubts(face): return []
